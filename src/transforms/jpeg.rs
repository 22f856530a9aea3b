//! Whether a JPEG file is all there.
//!
//! The decoder makes up for missing bytes with gray and says nothing. Pillow refuses a file without its last marker;
//! this walks the markers to say the same.

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

/// Whether the end-of-image marker follows the segments and scans that `bytes` start with (ITU-T T.81, annex B).
///
/// Segments are skipped by their length, so that a thumbnail's marker inside one does not count.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    // The start-of-image marker.
    let mut at = 2;
    loop {
        // To the next marker: within a scan FF 00 is a sample, restart markers belong to it; FF FF is fill.
        let marker = loop {
            match bytes.get(at..at + 2) {
                None => return false,
                Some([0xFF, 0x00 | 0xD0..=0xD7]) => at += 2,
                Some([0xFF, 0xFF]) => at += 1,
                Some([0xFF, marker]) => break *marker,
                Some(_) => at += 1,
            }
        };
        at += 2;
        match marker {
            END_OF_IMAGE => return true,
            // Stand alone, without a length: TEM and SOI.
            0x01 | 0xD8 => {}
            // A scan's header is skipped like any segment; its data are searched for the next marker.
            START_OF_SCAN | 0x02..=0xCF | 0xDB..=0xFE => match bytes.get(at..at + 2) {
                Some(length) => at += usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
            0x00 | 0xD0..=0xD7 | 0xFF => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_end;

    const START: &[u8] = &[0xFF, 0xD8];
    const END: &[u8] = &[0xFF, 0xD9];
    /// An application segment with an end marker inside, as a thumbnail has one.
    const THUMBNAIL: &[u8] = &[0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 0xFF, 0xD9];
    /// A scan with a stuffed byte, a restart marker and fill bytes.
    const SCAN: &[u8] = &[0xFF, 0xDA, 0, 4, 1, 2, 9, 0xFF, 0x00, 7, 0xFF, 0xD3, 8, 0xFF];

    #[test]
    fn a_thumbnails_end_is_not_the_pictures_end() {
        assert!(has_end(&[START, THUMBNAIL, SCAN, END].concat()));
        assert!(!has_end(&[START, THUMBNAIL, SCAN].concat()));
    }

    #[test]
    fn no_prefix_of_a_jpeg_has_an_end() {
        let whole = [START, THUMBNAIL, SCAN, SCAN, END].concat();
        assert!(has_end(&whole));
        for length in 0..whole.len() {
            assert!(!has_end(&whole[..length]), "the first {length} bytes");
        }
    }
}
