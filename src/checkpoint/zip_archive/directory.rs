//! A zip archive's central directory: the only place where torch's sizes are. Local headers, written before the data,
//! have zeros there; they are read for the place of the data and to refuse two names for one member.
//!
//! Source: PKWARE's APPNOTE 6.3, sections 4.3 to 4.5; torch's `caffe2/serialize/inline_container.cc`.

use crate::checkpoint::limits;
use crate::checkpoint::read_error::{MemberProblem, ReadError};
use std::collections::HashMap;
use std::ops::Range;

/// Members of one archive. A DenseNet-201 with its optimizer has 3,025.
const MAX_MEMBERS: u64 = 65_536;
/// Bytes of a member's name.
const MAX_NAME: usize = limits::NAME;
/// General purpose flags (4.4.4) of encrypted content: plain, strong, with a masked header.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// The flag of content that is a patch for another file.
const PATCHED: u16 = 1 << 5;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
const END64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR64: &[u8; 4] = b"PK\x06\x07";
const END_LENGTH: usize = 22;
const LOCATOR64_LENGTH: usize = 20;
/// The end record may have a comment, and torch does not mind junk after it.
const END_SEARCH: usize = END_LENGTH + u16::MAX as usize;

/// How a member's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) enum Method {
    Stored,
    Deflated,
    /// Not read.
    Other(u16),
}

/// One member.
#[derive(Debug, Clone)]
pub(in crate::checkpoint) struct Member {
    pub(in crate::checkpoint) name: String,
    pub(in crate::checkpoint) method: Method,
    pub(in crate::checkpoint) encrypted: bool,
    pub(in crate::checkpoint) patched: bool,
    /// Its bytes in the file, compressed or not.
    pub(in crate::checkpoint) data: Range<usize>,
    /// Its length when inflated.
    pub(in crate::checkpoint) size: u64,
    header: usize,
}

/// All members in the directory's order, checked: names are unique and equal in both places, and each member's bytes lie
/// in the file, before the directory, and are nobody else's.
#[derive(Debug)]
pub(in crate::checkpoint) struct Directory {
    pub(in crate::checkpoint) members: Vec<Member>,
    by_name: HashMap<String, usize>,
}

impl Directory {
    pub(in crate::checkpoint) fn read(bytes: &[u8]) -> Result<Directory, ReadError> {
        let end = find_end(bytes)?;
        if end.members > MAX_MEMBERS {
            return Err(ReadError::LimitExceeded {
                what: "the number of zip members",
                at: end.at as u64,
                value: end.members,
                max: MAX_MEMBERS,
            });
        }
        let mut members = Vec::new();
        let mut by_name = HashMap::new();
        let mut at = end.directory.start;
        for index in 0..end.members as usize {
            let (member, next) = read_member(bytes, at, &end.directory)?;
            if by_name.insert(member.name.clone(), index).is_some() {
                return Err(ReadError::Member { member: member.name, problem: MemberProblem::Duplicate });
            }
            members.push(member);
            at = next;
        }
        // Readers that go by the directory's length, not by the count, would see members here that others do not.
        if at != end.directory.end {
            return Err(ReadError::Zip {
                at: at as u64,
                problem: "the central directory goes on after its last entry",
            });
        }
        let directory = Directory { members, by_name };
        directory.refuse_overlap()?;
        Ok(directory)
    }

    pub(in crate::checkpoint) fn get(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name).map(|index| &self.members[*index])
    }

    fn refuse_overlap(&self) -> Result<(), ReadError> {
        let mut by_place: Vec<&Member> = self.members.iter().collect();
        by_place.sort_by_key(|member| member.header);
        for pair in by_place.windows(2) {
            if pair[0].data.end > pair[1].header {
                return Err(ReadError::Member {
                    member: pair[1].name.clone(),
                    problem: MemberProblem::Overlap { other: pair[0].name.clone() },
                });
            }
        }
        Ok(())
    }
}

/// Where the directory is.
struct End {
    at: usize,
    members: u64,
    directory: Range<usize>,
}

fn find_end(bytes: &[u8]) -> Result<End, ReadError> {
    let from = bytes.len().saturating_sub(END_SEARCH);
    let tail = &bytes[from..];
    let Some(found) = tail.windows(4).rposition(|window| window == END) else {
        return Err(ReadError::Truncated {
            what: "the zip archive's end record".to_string(),
            at: bytes.len() as u64,
            needed: END_LENGTH as u64,
            have: 0,
        });
    };
    let at = from + found;
    let record = part(bytes, at, END_LENGTH, "the zip archive's end record")?;
    let broken = |problem| ReadError::Zip { at: at as u64, problem };
    if u16_at(record, 4) != 0 && u16_at(record, 4) != u16::MAX {
        return Err(broken("the archive is one part of several"));
    }
    let (mut members, mut size, mut offset) =
        (u64::from(u16_at(record, 10)), u64::from(u32_at(record, 12)), u64::from(u32_at(record, 16)));
    let mut limit = at;
    // torch always writes the 64-bit record, and its numbers count where the old ones are too small for them.
    let locator_at = at.checked_sub(LOCATOR64_LENGTH);
    if let Some(locator) =
        locator_at.map(|at| &bytes[at..at + LOCATOR64_LENGTH]).filter(|l| l.starts_with(LOCATOR64))
    {
        let at64 = usize::try_from(u64_at(locator, 8))
            .map_err(|_| broken("the Zip64 end record is past the file"))?;
        let record = part(bytes, at64, 56, "the Zip64 end record")?;
        if !record.starts_with(END64) {
            return Err(broken("the Zip64 end record is not where it should be"));
        }
        let wide = (u64_at(record, 32), u64_at(record, 40), u64_at(record, 48));
        let same = |narrow: u64, mask: u64, wide: u64| narrow == wide || narrow == mask;
        // Two directories that disagree are two archives in one file.
        if !same(members, 0xffff, wide.0)
            || !same(size, 0xffff_ffff, wide.1)
            || !same(offset, 0xffff_ffff, wide.2)
        {
            return Err(broken("the two end records disagree"));
        }
        (members, size, offset) = wide;
        limit = at64;
    }
    // Nothing lies between: readers that find the directory by its end, not by its offset, find the same one.
    let directory = offset
        .checked_add(size)
        .filter(|end| *end == limit as u64)
        .map(|end| offset as usize..end as usize)
        .ok_or_else(|| broken("the central directory does not lie in front of its end record"))?;
    Ok(End { at, members, directory })
}

fn read_member(bytes: &[u8], at: usize, directory: &Range<usize>) -> Result<(Member, usize), ReadError> {
    let broken = |problem| ReadError::Zip { at: at as u64, problem };
    let rest = bytes.get(at..directory.end).unwrap_or_default();
    let header = rest.get(..46).ok_or_else(|| broken("the central directory ends within an entry"))?;
    if !header.starts_with(CENTRAL) {
        return Err(broken("no central directory entry where one should be"));
    }
    let (name, extra, comment) =
        (usize::from(u16_at(header, 28)), usize::from(u16_at(header, 30)), usize::from(u16_at(header, 32)));
    let tail = rest
        .get(46..46 + name + extra + comment)
        .ok_or_else(|| broken("the central directory ends within an entry"))?;
    if name > MAX_NAME {
        return Err(ReadError::LimitExceeded {
            what: "the length of a zip member's name",
            at: at as u64,
            value: name as u64,
            max: MAX_NAME as u64,
        });
    }
    let name_bytes = &tail[..name];
    let name =
        std::str::from_utf8(name_bytes).map_err(|_| broken("a member's name is not UTF-8"))?.to_string();
    if !is_plain(&name) {
        return Err(ReadError::Member { member: name, problem: MemberProblem::Path });
    }
    let mut wide = Zip64 {
        size: u64::from(u32_at(header, 24)),
        compressed: u64::from(u32_at(header, 20)),
        header: u64::from(u32_at(header, 42)),
    };
    wide.read(&tail[name_bytes.len()..name_bytes.len() + extra])
        .ok_or_else(|| broken("a member's 64-bit sizes are missing"))?;

    let local_at = usize::try_from(wide.header).map_err(|_| broken("a member lies past the file"))?;
    let local = part(bytes, local_at, 30, "a zip member's header")?;
    if !local.starts_with(LOCAL) {
        return Err(broken("a member's header is not where the directory says"));
    }
    let local_name_length = usize::from(u16_at(local, 26));
    let local_name = part(bytes, local_at + 30, local_name_length, "a zip member's name")?;
    if local_name != name_bytes {
        let local = String::from_utf8_lossy(local_name).into_owned();
        return Err(ReadError::Member { member: name, problem: MemberProblem::LocalName { local } });
    }
    let start = local_at + 30 + local_name_length + usize::from(u16_at(local, 28));
    let data = (start as u64)
        .checked_add(wide.compressed)
        .filter(|end| *end <= directory.start as u64)
        .map(|end| start..end as usize)
        .ok_or_else(|| ReadError::Truncated {
            what: format!("the zip member {name:?}"),
            at: start as u64,
            needed: wide.compressed,
            have: directory.start.saturating_sub(start) as u64,
        })?;
    let method = match u16_at(header, 10) {
        0 => Method::Stored,
        8 => Method::Deflated,
        other => Method::Other(other),
    };
    if method == Method::Stored && wide.compressed != wide.size {
        let problem = MemberProblem::StoredSize { compressed: wide.compressed, size: wide.size };
        return Err(ReadError::Member { member: name, problem });
    }
    let flags = u16_at(header, 8);
    let (encrypted, patched) = (flags & ENCRYPTED != 0, flags & PATCHED != 0);
    let member = Member { name, method, encrypted, patched, data, size: wide.size, header: local_at };
    Ok((member, at + 46 + tail.len()))
}

/// Whether a name stays below the folder an archive is unpacked in, and means the same to everybody. Nothing is unpacked
/// here; but no honest archive has such names, and people do unpack them.
fn is_plain(name: &str) -> bool {
    let folder = name.strip_suffix('/').unwrap_or(name);
    !name.contains(['\\', '\0']) && folder.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The three numbers that the Zip64 extra field replaces, in its order, where the entry's own are all ones.
struct Zip64 {
    size: u64,
    compressed: u64,
    header: u64,
}

impl Zip64 {
    /// `None`: a number is to be replaced and is not in the field.
    fn read(&mut self, extra: &[u8]) -> Option<()> {
        let mut rest = extra;
        let mut field: &[u8] = &[];
        while rest.len() >= 4 {
            let (id, length) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
            // An extra field of another kind may be anything; a length past the end only ends the search.
            let Some(content) = rest.get(4..4 + length) else { break };
            if id == 1 {
                field = content;
                break;
            }
            rest = &rest[4 + length..];
        }
        for value in [&mut self.size, &mut self.compressed, &mut self.header] {
            if *value == u64::from(u32::MAX) {
                *value = u64_at(field.get(..8)?, 0);
                field = &field[8..];
            }
        }
        Some(())
    }
}

fn part<'a>(bytes: &'a [u8], at: usize, length: usize, what: &str) -> Result<&'a [u8], ReadError> {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..length).ok_or_else(|| ReadError::Truncated {
        what: what.to_string(),
        at: at as u64,
        needed: length as u64,
        have: rest.len() as u64,
    })
}

// For records whose length was checked before.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
