//! A zip archive as torch's own writer makes it.
//!
//! Ours and not a library's, because the layout is the point: members are stored, each begins at a multiple of 64 bytes
//! behind an `FB` padding field, sizes stand in data descriptors and the central directory only, and a Zip64 end record is
//! always there. Files then equal `torch.save`'s to the byte, and can be mapped by `torch.load(mmap=True)`. Source: torch's
//! `caffe2/serialize/inline_container.cc` and its `third_party/miniz-3.0.2`.

use super::Sink;
use crate::checkpoint::error::Result;
use std::io;

/// Members begin at multiples of this (`kFieldAlignment`, and what `.storage_alignment` says).
pub(super) const ALIGNMENT: u64 = 64;
/// Sizes and offsets from here on need fields of 64 bits, which are not written: no archive is made that long.
pub(super) const MAX: u64 = u32::MAX as u64;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const ZIP64_END: u32 = 0x0606_4b50;
const ZIP64_LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// Names are UTF-8.
const UTF8: u16 = 0x0800;
/// Size and checksum follow the member.
const DESCRIBED: u16 = 0x0008;
/// Bytes of a local header before the name, and of the padding field's own header.
const LOCAL_LENGTH: u64 = 30;
const FIELD_LENGTH: u64 = 4;

/// An archive being written.
pub(super) struct ZipWriter<'a, 'b> {
    sink: &'a mut Sink<'b>,
    root: &'static str,
    offset: u64,
    directory: Vec<u8>,
    members: u64,
    /// Of the names of all members, and of the checksums of those that are not empty, as torch combines them.
    names: u64,
    checksums: u64,
}

impl<'a, 'b> ZipWriter<'a, 'b> {
    /// Members will be called `<root>/…`.
    pub(super) fn new(sink: &'a mut Sink<'b>, root: &'static str) -> Self {
        ZipWriter { sink, root, offset: 0, directory: Vec::new(), members: 0, names: 0, checksums: 0 }
    }

    /// Writes a member.
    pub(super) fn member(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let name = format!("{}/{name}", self.root);
        let checksum = crc32fast::hash(bytes);
        let flags = if bytes.is_empty() { UTF8 } else { UTF8 | DESCRIBED };
        let (header, length) = (self.offset, bytes.len() as u64);
        let start = header + LOCAL_LENGTH + name.len() as u64 + FIELD_LENGTH;
        let padding = start.next_multiple_of(ALIGNMENT) - start;
        // Every length is far below what its field holds: a name has some dozens of bytes.
        let mut local = Vec::with_capacity((LOCAL_LENGTH + FIELD_LENGTH + padding) as usize + name.len());
        put32(&mut local, LOCAL);
        put16(&mut local, 0); // version needed
        put16(&mut local, flags);
        local.extend([0; 18]); // stored; no date; checksum and sizes in the descriptor
        put16(&mut local, name.len() as u16);
        put16(&mut local, (FIELD_LENGTH + padding) as u16);
        local.extend(name.as_bytes());
        local.extend(b"FB");
        put16(&mut local, padding as u16);
        local.resize(local.len() + padding as usize, b'Z');
        self.put(&local)?;
        self.put(bytes)?;
        if !bytes.is_empty() {
            let mut descriptor = Vec::with_capacity(16);
            put32(&mut descriptor, DESCRIPTOR);
            put32(&mut descriptor, checksum);
            put32(&mut descriptor, self.narrow(length)?);
            put32(&mut descriptor, self.narrow(length)?);
            self.put(&descriptor)?;
        }

        put32(&mut self.directory, CENTRAL);
        self.directory.extend([0; 4]); // version made by, version needed
        put16(&mut self.directory, flags);
        self.directory.extend([0; 6]); // stored; no date
        put32(&mut self.directory, checksum);
        let (length, header) = (self.narrow(length)?, self.narrow(header)?);
        put32(&mut self.directory, length);
        put32(&mut self.directory, length);
        put16(&mut self.directory, name.len() as u16);
        self.directory.extend([0; 12]); // no extra field, no comment, disk 0, no attributes
        put32(&mut self.directory, header);
        self.directory.extend(name.as_bytes());
        self.members += 1;
        self.names = combine(self.names, fnv(name.as_bytes()));
        if !bytes.is_empty() {
            self.checksums = combine(self.checksums, checksum.into());
        }
        Ok(())
    }

    /// Writes the directory.
    pub(super) fn finish(mut self) -> Result<()> {
        // torch's fingerprint of an archive, 40 digits: names and checksums. Nothing reads it but logs. Its hash of the
        // names is the C++ library's, over an unordered set; ours is another, and equal for equal names.
        let id = format!("{:020}{:020}", self.names, self.checksums);
        self.member(".data/serialization_id", id.as_bytes())?;
        let directory = std::mem::take(&mut self.directory);
        let (start, length) = (self.offset, directory.len() as u64);
        self.put(&directory)?;
        let end = self.offset;
        let mut tail = Vec::with_capacity(98);
        put32(&mut tail, ZIP64_END);
        put64(&mut tail, 44); // what follows of this record
        put16(&mut tail, 0x031e); // made by version 3.0, on Unix
        put16(&mut tail, 45); // version needed: 4.5, Zip64
        tail.extend([0; 8]); // disk 0
        put64(&mut tail, self.members);
        put64(&mut tail, self.members);
        put64(&mut tail, length);
        put64(&mut tail, start);
        put32(&mut tail, ZIP64_LOCATOR);
        put32(&mut tail, 0);
        put64(&mut tail, end);
        put32(&mut tail, 1); // disks
        put32(&mut tail, END);
        tail.extend([0; 4]); // disk 0
        let members = self.members.min(u16::MAX.into()) as u16;
        put16(&mut tail, members);
        put16(&mut tail, members);
        put32(&mut tail, self.narrow(length)?);
        put32(&mut tail, self.narrow(start)?);
        put16(&mut tail, 0); // no comment
        self.put(&tail)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len() as u64;
        self.sink.put(bytes)
    }

    fn narrow(&self, value: u64) -> Result<u32> {
        let what =
            "a zip archive of 4 GB or more is not written; safetensors and pth-legacy have no such limit";
        match u32::try_from(value) {
            Ok(narrow) if value < MAX => Ok(narrow),
            _ => Err(self.sink.failed(io::Error::new(io::ErrorKind::FileTooLarge, what))),
        }
    }
}

fn put16(bytes: &mut Vec<u8>, value: u16) {
    bytes.extend(value.to_le_bytes());
}

fn put32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend(value.to_le_bytes());
}

fn put64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend(value.to_le_bytes());
}

/// `c10::hash_combine`.
fn combine(seed: u64, value: u64) -> u64 {
    seed ^ value.wrapping_add(0x9e37_79b9).wrapping_add(seed << 6).wrapping_add(seed >> 2)
}

/// The 64-bit FNV-1a hash.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
