use super::*;

/// As redb uses a file.
#[test]
fn a_file_in_memory_keeps_what_is_written_within_its_length() {
    let image = Image::new(Vec::new());
    image.set_len(10).unwrap();
    assert_eq!(image.len().unwrap(), 10);
    image.write(3, b"abc").unwrap();
    let mut read = [1; 5];
    image.read(2, &mut read).unwrap();
    assert_eq!(&read, b"\0abc\0");
    for (offset, length) in [(8, 3), (10, 1), (u64::MAX, 1)] {
        let error = image.write(offset, &vec![7; length]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset}");
        assert!(image.read(offset, &mut vec![7; length]).is_err(), "{offset}");
    }
    image.set_len(4).unwrap();
    assert_eq!(image.with(|bytes| Ok(bytes.clone())).unwrap(), b"\0\0\0a");
}

#[test]
fn a_header_that_lies_does_not_take_the_machines_memory() {
    let image = Image::new(Vec::new());
    assert!(image.set_len(2 * MOST_BYTES + 1).is_err());
    image.set_len(2 * MOST_BYTES).unwrap();
    assert_eq!(image.len().unwrap(), 2 * MOST_BYTES);
}
