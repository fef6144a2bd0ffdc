//! How large a request may be, and several on one connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use holdfast_sim::server::ClockMode;

use crate::loopback::{Loopback, OPERATOR, signature};

#[test]
fn a_large_body_is_refused_and_a_connection_serves_several_requests() {
    let sim = Loopback::start(ClockMode::Running);
    // Refused by its told length, before any of it is sent.
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
