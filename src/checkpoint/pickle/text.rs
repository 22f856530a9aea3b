//! Numbers and strings as pickles write them: protocol 0's text forms, and integers of any length.

use super::tree::Node;
use std::borrow::Cow;

/// LONG1 and LONG4: two's complement, little-endian, of any length.
pub(super) fn long(bytes: &[u8]) -> Node<'_> {
    let Some(last) = bytes.last() else {
        return Node::Int(0);
    };
    if bytes.len() > 16 {
        return Node::Huge;
    }
    let mut wide = [if last & 0x80 != 0 { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    integer(i128::from_le_bytes(wide))
}

/// INT and LONG: decimal digits, LONG's with an `L` behind them; INT's `00` and `01` are truth values.
pub(super) fn decimal(line: &[u8]) -> Option<Node<'_>> {
    match line {
        b"00" => return Some(Node::Bool(false)),
        b"01" => return Some(Node::Bool(true)),
        _ => {}
    }
    let digits = line.strip_suffix(b"L").unwrap_or(line);
    if let Ok(value) = std::str::from_utf8(digits).ok()?.parse::<i128>() {
        return Some(integer(value));
    }
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    (!unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit)).then_some(Node::Huge)
}

/// FLOAT: Python's `repr`.
pub(super) fn float(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// PUT and GET.
pub(super) fn index(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// A Python 2 string: text where it is UTF-8, else bytes.
pub(super) fn string(bytes: &[u8]) -> Node<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Node::Str(Cow::Borrowed(text)),
        Err(_) => Node::Bytes(Cow::Borrowed(bytes)),
    }
}

/// STRING: a quoted Python literal.
pub(super) fn quoted(line: &[u8]) -> Option<Node<'_>> {
    let quote = *line.first()?;
    if !matches!(quote, b'\'' | b'"') || line.len() < 2 || *line.last()? != quote {
        return None;
    }
    let body = &line[1..line.len() - 1];
    if !body.contains(&b'\\') {
        return Some(string(body));
    }
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'x' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            b'\\' | b'\'' | b'"' => bytes.push(escape),
            other => bytes.extend([b'\\', other]),
        }
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => Node::Str(Cow::Owned(text)),
        Err(error) => Node::Bytes(Cow::Owned(error.into_bytes())),
    })
}

/// UNICODE: Latin-1 with `\uXXXX` and `\UXXXXXXXX` (raw-unicode-escape).
pub(super) fn raw_unicode(line: &[u8]) -> Option<Node<'_>> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                rest = after;
                continue;
            }
        };
        let code = std::str::from_utf8(after.get(1..=digits)?).ok()?;
        // A surrogate alone is no character; nothing that is read here needs one.
        text.push(char::from_u32(u32::from_str_radix(code, 16).ok()?).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &after[1 + digits..];
    }
    Some(Node::Str(Cow::Owned(text)))
}

fn integer(value: i128) -> Node<'static> {
    match i64::try_from(value) {
        Ok(value) => Node::Int(value),
        Err(_) => Node::Big(Box::new(value)),
    }
}
