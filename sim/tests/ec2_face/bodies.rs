//! How large a request may be, and several on one connection.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use holdfast_sim::server::ClockMode;

use crate::loopback::{Loopback, OPERATOR, signature};

#[test]
fn a_large_body_is_refused_by_its_told_length_before_any_of_it_is_sent() {
    let sim = Loopback::start(ClockMode::Running);
    let mut stream = TcpStream::connect(sim.ec2).unwrap();
    let head = "POST / HTTP/1.1
Host: box
Content-Length: 2000000

";
    stream.write_all(head.as_bytes()).unwrap();
    let mut status = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    BufReader::new(&stream).read_line(&mut status).unwrap();
    assert_eq!(status.trim(), "HTTP/1.1 413 Payload Too Large");
}

/// A connection on which a body is sent that is too large: with its length told, or in chunks.
fn sends(sim: &Loopback, told: bool, length: usize) -> (TcpStream, std::io::Result<()>) {
    let mut stream = TcpStream::connect(sim.ec2).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let framing =
        if told { format!("Content-Length: {length}") } else { "Transfer-Encoding: chunked".to_owned() };
    write!(stream, "POST / HTTP/1.1\r\nHost: box\r\n{framing}\r\n\r\n").unwrap();
    let piece = vec![b'a'; 1 << 16];
    let mut written = Ok(());
    for _ in 0..length / piece.len() {
        let chunk = if told { piece.clone() } else { [b"10000\r\n", &piece[..], b"\r\n"].concat() };
        written = written.and_then(|()| stream.write_all(&chunk));
    }
    (stream, written)
}

#[test]
fn who_has_sent_a_body_that_is_too_large_reads_why_it_is_refused() {
    let sim = Loopback::start(ClockMode::Running);
    for told in [true, false] {
        let (mut stream, written) = sends(&sim, told, 4 << 20);
        written.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{told} {answer}");
    }
}

#[test]
fn who_goes_on_sending_for_ever_is_cut_off() {
    let sim = Loopback::start(ClockMode::Running);
    // More than is taken, and than the kernel holds in between.
    let (_, written) = sends(&sim, true, 64 << 20);
    assert!(matches!(written.unwrap_err().kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
}

#[test]
fn a_connection_serves_several_requests() {
    let sim = Loopback::start(ClockMode::Running);
    let stream = TcpStream::connect(sim.ec2).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reader = BufReader::new(&stream);
    for _ in 0..3 {
        let body = "Action=DescribeVpcs";
        let date = sim.date(0);
        let authorization = signature(OPERATOR, &date, "us-west-2", "ec2");
        write!(
            &stream,
            "POST / HTTP/1.1\r\nHost: box\r\nAuthorization: {authorization}\r\nX-Amz-Date: {date}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        assert!(String::from_utf8(body).unwrap().contains("DescribeVpcsResponse"));
    }
}
