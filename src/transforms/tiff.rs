//! Whether a TIFF's directory names values that its file can hold.
//!
//! The decoder makes room for as many values as an entry claims, up to 256 MB, before it reads them and before it takes
//! any limit: 132 bytes cost 128 MB.

/// The first entry of the first directory whose values are longer than the whole file: its tag and the bytes claimed.
/// Source: TIFF 6.0, section 2; Adobe's BigTIFF proposal.
pub(super) fn impossible_entry(bytes: &[u8]) -> Option<(u16, u64)> {
    let file = File { bytes, big_endian: bytes.starts_with(b"MM") };
    let wide = file.number(2, 2)? == 43;
    // Offset and width of the directory's place; widths of its count, and of an entry and of an entry's count.
    let (place, offset_width, count_width, entry_width) = if wide { (8, 8, 8, 20) } else { (4, 4, 2, 12) };
    let directory = file.number(place, offset_width)?;
    let first = directory.checked_add(count_width)?;
    let entries = file.number(directory, count_width)?;
    // No more than the file has: an entry past it ends the search.
    (0..entries)
        .map_while(|index| file.entry(first.checked_add(index.checked_mul(entry_width)?)?, offset_width))
        .find(|(_, claimed)| *claimed > bytes.len() as u64)
}

struct File<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl File<'_> {
    /// An entry's tag and the bytes its values take.
    fn entry(&self, at: u64, count_width: u64) -> Option<(u16, u64)> {
        let (tag, kind) = (self.number(at, 2)?, self.number(at.checked_add(2)?, 2)?);
        let count = self.number(at.checked_add(4)?, count_width)?;
        let size = match kind {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 | 17 | 18 => 8,
            // Bytes, text, and kinds that nobody knows.
            _ => 1,
        };
        Some((tag as u16, count.saturating_mul(size)))
    }

    /// An unsigned number of `width` bytes, at most 8; `None` past the end.
    fn number(&self, at: u64, width: u64) -> Option<u64> {
        let end = usize::try_from(at.checked_add(width)?).ok()?;
        let digits = self.bytes.get(usize::try_from(at).ok()?..end)?;
        let append = |number: u64, digit: &u8| number << 8 | u64::from(*digit);
        Some(if self.big_endian {
            digits.iter().fold(0, append)
        } else {
            digits.iter().rev().fold(0, append)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one entry at once after the header.
    fn file(wide: bool, big: bool, kind: u16, count: u64) -> Vec<u8> {
        let mut bytes = if big { b"MM".to_vec() } else { b"II".to_vec() };
        let mut put = |number: u64, width: usize| match big {
            true => bytes.extend(&number.to_be_bytes()[8 - width..]),
            false => bytes.extend(&number.to_le_bytes()[..width]),
        };
        let (offset, counts) = if wide { (8, 8) } else { (4, 2) };
        put(if wide { 43 } else { 42 }, 2);
        if wide {
            put(8, 2);
            put(0, 2);
        }
        put(if wide { 16 } else { 8 }, offset);
        put(1, counts);
        put(0x11c, 2);
        put(u64::from(kind), 2);
        put(count, offset);
        bytes.extend([0; 40]);
        bytes
    }

    #[test]
    fn values_that_the_file_cannot_hold_are_found_in_both_orders_and_widths() {
        for (wide, big) in [(false, false), (false, true), (true, false), (true, true)] {
            let length = file(wide, big, 3, 0).len() as u64;
            assert_eq!(impossible_entry(&file(wide, big, 3, length / 2)), None);
            let claimed = 2 * (length / 2 + 1);
            assert_eq!(impossible_entry(&file(wide, big, 3, length / 2 + 1)), Some((0x11c, claimed)));
            for (kind, size) in [(1, 1), (2, 1), (4, 4), (5, 8), (12, 8), (99, 1)] {
                assert_eq!(impossible_entry(&file(wide, big, kind, 1 << 31)), Some((0x11c, size << 31)));
            }
            let cut = file(wide, big, 3, 1 << 31);
            for length in 0..cut.len() - 40 {
                assert_eq!(impossible_entry(&cut[..length]), None);
            }
        }
        let all = impossible_entry(&file(true, false, 12, u64::MAX));
        assert_eq!(all, Some((0x11c, u64::MAX)));
    }
}
