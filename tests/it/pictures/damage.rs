//! What is damaged, too large or no picture at all.

use super::*;

#[test]
fn sizes_past_the_limit_are_refused_before_allocating() {
    let line = RgbImage::new(60_000, 1);
    let uncropped = ImageClassification { crop_size: None, ..Default::default() };
    assert!(matches!(uncropped.apply(&line), Err(TransformError::TooLarge { .. })));
    // With a crop only the crop is computed, so the same picture is no trouble.
    assert_eq!(ImageClassification::default().apply(&line).unwrap().size(), [3, 224, 224]);
    let huge = ImageClassification { crop_size: Some(4_000_000_000), ..Default::default() };
    assert!(matches!(huge.apply(&line), Err(TransformError::TooLarge { .. })));
    let enormous = ImageClassification { resize_size: Some(u32::MAX), ..Default::default() };
    assert_eq!(enormous.apply(&RgbImage::new(2, 2)).unwrap().size(), [3, 224, 224]);
    assert!(matches!(
        resize(&line, u32::MAX, u32::MAX, Interpolation::Bilinear),
        Err(TransformError::TooLarge { .. })
    ));
    for (from, to) in [((0, 0), (4, 4)), ((4, 4), (0, 4))] {
        let resized = resize(&RgbImage::new(from.0, from.1), to.0, to.1, Interpolation::Nearest);
        assert!(matches!(resized, Err(TransformError::EmptyPicture { .. })));
    }
    assert!(matches!(
        ImageClassification::default().apply(&RgbImage::new(0, 0)),
        Err(TransformError::EmptyPicture { .. })
    ));
    // A header of 60000 by 60000 pixels, a few bytes long.
    let mut png = PICTURES.bytes("rgb.png");
    png[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    let refused = decode(&png).unwrap_err();
    assert!(
        matches!(refused, TransformError::TooManyPixels { width: 60_000, height: 60_000, .. }),
        "{refused}"
    );
    let small = DecodeOptions { max_pixels: 1000, ..Default::default() };
    for name in ["rgb.png", "444.jpg", "rgb.bmp", "palette.gif", "rgb.tiff", "rgb.webp", "rgb.ppm"] {
        let refused = small.open(PICTURES.path(name)).unwrap_err();
        assert!(matches!(refused, TransformError::TooManyPixels { limit: 1000, .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

/// PNG's checksum (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

#[test]
fn what_is_no_picture_or_not_supported_says_so_with_its_path() {
    let folder = scratch();
    let told = |path: &Path| {
        let error = open(path).unwrap_err();
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        error
    };
    let path = folder.path().join("notes.jpg");
    for words in [&b"hello"[..], b"", b"\xff", b"version https://git-lfs.github.com/spec/v1\n"] {
        std::fs::write(&path, words).unwrap();
        assert!(matches!(told(&path), TransformError::NotAPicture { .. }));
    }
    assert!(matches!(told(&folder.path().join("missing.png")), TransformError::Io { .. }));
    assert!(matches!(told(folder.path()), TransformError::Io { .. }));
    for name in PICTURES.group("unsupported") {
        let error = told(&PICTURES.path(name));
        match error {
            TransformError::NotAPicture { .. } => assert!(name.ends_with(".tga"), "{name}"),
            TransformError::Unsupported { .. } => assert!(!name.ends_with(".tga"), "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
}

/// Small files of every format, each kind of stream once.
const FRAGILE: [&str; 18] = [
    "420_small.jpg",
    "cmyk.jpg",
    "progressive.jpg",
    "palette_alphas.png",
    "interlaced.png",
    "rgb16.png",
    "one_bit.bmp",
    "palette.bmp",
    "565.bmp",
    "transparent.gif",
    "offset_frame.gif",
    "animated.gif",
    "plain.ppm",
    "maxval1000.ppm",
    "rgb.webp",
    "lossy_alpha.webp",
    "tiff_lzw.tiff",
    "rgb16.tiff",
];

/// Flips bits through a file; decoding may fail or not, but only with an error. Files of many bytes are flipped at
/// `FLIPS` places: all of the head, where the structure is, and evenly through the rest.
#[test]
fn a_damaged_picture_is_an_error_or_a_picture_never_a_panic() {
    const HEAD: usize = 160;
    const FLIPS: usize = 400;
    let options = DecodeOptions { max_pixels: 1 << 20, ..Default::default() };
    for name in FRAGILE {
        let mut bytes = PICTURES.bytes(name);
        let step = (bytes.len() / FLIPS).max(1);
        let places: Vec<usize> =
            (0..bytes.len().min(HEAD)).chain((HEAD..bytes.len()).step_by(step)).collect();
        for at in places {
            for flip in [0x01, 0x80, 0xFF] {
                bytes[at] ^= flip;
                let outcome = std::panic::catch_unwind(|| options.decode(&bytes));
                let outcome = outcome.unwrap_or_else(|_| panic!("{name}: byte {at} ^ {flip:#x}"));
                if let Ok(picture) = outcome {
                    assert!(u64::from(picture.width()) * u64::from(picture.height()) <= 1 << 20);
                }
                bytes[at] ^= flip;
            }
        }
    }
}

#[test]
fn a_truncated_picture_is_refused_where_pil_refuses_it_unless_all_pixels_are_there() {
    let folder = scratch();
    for name in FRAGILE {
        let bytes = PICTURES.bytes(name);
        let whole = decode(&bytes).unwrap();
        let refused = ask("pil_prefixes", json!({ "path": PICTURES.path(name) }));
        let refused: Vec<usize> = serde_json::from_value(refused).unwrap();
        assert!(refused.len() > bytes.len() / 2, "{name}");
        for &length in &refused {
            // Nothing but the file's last marks may be missing from what is accepted.
            if let Ok(picture) = decode(&bytes[..length]) {
                assert_eq!(picture, whole, "{name}: {length} of {}", bytes.len());
            }
        }
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = open(&path).unwrap_err();
        let named = matches!(error, TransformError::Truncated { .. } | TransformError::Decode { .. });
        assert!(named, "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
        println!("{error}");
    }
}

/// What a fuzzer found: a TIFF of 132 bytes whose one tag claims four million values cost 128 MB before any limit.
#[test]
fn a_tiff_that_claims_more_values_than_it_has_bytes_costs_nothing() {
    let mut bytes = b"II*\0\x08\0\0\0\x09\0".to_vec();
    let entries: [(u16, u16, u32, u32); 9] = [
        (0x100, 3, 1, 3),
        (0x101, 3, 1, 2),
        (0x102, 3, 1, 16),
        (0x103, 3, 1, 1),
        (0x106, 3, 1, 1),
        (0x111, 4, 1, 8),
        (0x116, 3, 1, 2),
        (0x117, 4, 1, 12),
        (0x11c, 3, 0x3d_0001, 1),
    ];
    for (tag, kind, count, value) in entries {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes.extend([0; 14]);
    let used = allocation_counter::measure(|| {
        let refused = decode(&bytes).unwrap_err();
        assert!(matches!(refused, TransformError::Truncated { .. }), "{refused}");
    });
    assert!(used.bytes_max < 1 << 20, "{} bytes", used.bytes_max);
    // With a count that is true it is a picture.
    let count = bytes.len() - 14 - 8;
    bytes[count..count + 4].copy_from_slice(&1u32.to_le_bytes());
    assert_eq!(decode(&bytes).unwrap().dimensions(), (3, 2));
}
