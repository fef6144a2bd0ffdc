use std::os::unix::net::UnixListener;
use std::thread;

use super::*;
use crate::frame::{self, MAX_REQUEST};
use crate::ids::{Attachment, ContainerId, IfName, NetworkName};
use crate::message::{Answer, Gc, Request, Status};

fn status() -> RequestFrame {
    let network = NetworkName::new("n").unwrap();
    RequestFrame::new(Request::Status(Status { network }), "test", 1)
}

/// A GC of some 800 kB: more than a socket buffers.
fn large() -> RequestFrame {
    let valid = (0..8000)
        .map(|i| Attachment {
            container_id: ContainerId::new(&format!("{i:064x}")).unwrap(),
            ifname: IfName::new("eth0").unwrap(),
        })
        .collect();
    RequestFrame::new(Request::Gc(Gc { network: NetworkName::new("n").unwrap(), valid }), "test", 1)
}

fn read_request(stream: &mut UnixStream) -> RequestFrame {
    let mut decoder = FrameDecoder::new(MAX_REQUEST);
    loop {
        if let Some(body) = decoder.next_frame().unwrap() {
            return RequestFrame::decode(&body).unwrap();
        }
        let mut buffer = vec![0; decoder.missing()];
        let got = stream.read(&mut buffer).unwrap();
        assert!(got > 0, "client closed early");
        decoder.push(&buffer[..got]);
    }
}

/// Runs `serve` on one connection while the client asks.
fn with_daemon(
    request: &RequestFrame,
    patience: Duration,
    serve: impl FnOnce(UnixStream) + Send + 'static,
) -> Result<AnswerFrame, ClientError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = thread::spawn(move || serve(listener.accept().unwrap().0));
    let answer = exchange(&path, request, None, patience);
    daemon.join().unwrap();
    answer
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_request_larger_than_the_socket_buffer_arrives_whole() {
    let answer = with_daemon(&large(), LONG, |mut stream| {
        assert_eq!(read_request(&mut stream), large());
        stream.write_all(&AnswerFrame::new(Answer::Done, 1, "d").encode().unwrap()).unwrap();
    });
    assert_eq!(answer.unwrap().answer, Answer::Done);
}

#[test]
fn a_refusal_sent_without_reading_the_request_is_still_heard() {
    let answer = with_daemon(&large(), LONG, |mut stream| {
        stream.write_all(&AnswerFrame::new(Answer::Done, 1, "refused").encode().unwrap()).unwrap();
    });
    assert_eq!(answer.unwrap().daemon_version, "refused");
}

#[test]
fn a_daemon_that_goes_away_is_told_from_one_that_says_nonsense() {
    let error = with_daemon(&status(), LONG, |mut stream| {
        read_request(&mut stream);
        stream.write_all(&[0, 0]).unwrap();
    });
    let error = error.unwrap_err();
    assert!(matches!(error, ClientError::WentAway) && error.cut_off(), "{error:?}");
    let error = with_daemon(&status(), LONG, |mut stream| {
        read_request(&mut stream);
        stream.write_all(&[0xff; 8]).unwrap();
    });
    let error = error.unwrap_err();
    assert!(matches!(error, ClientError::Frame(_)) && !error.cut_off(), "{error:?}");
}

#[test]
fn a_dribbling_daemon_cannot_stretch_the_deadline() {
    let started = Instant::now();
    let patience = Duration::from_millis(300);
    let error = with_daemon(&status(), patience, |mut stream| {
        read_request(&mut stream);
        let mut bytes = frame::encode(&[b' '; 1000], 1000).unwrap().into_iter();
        // Ends when the client gives up: each byte comes well within a timeout that would restart per read.
        while let Some(byte) = bytes.next()
            && stream.write_all(&[byte]).is_ok()
        {
            thread::sleep(Duration::from_millis(20));
        }
    })
    .unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { waited } if waited == patience), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_daemon_that_never_accepts_does_not_hold_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = UnixAddr::new(&path).unwrap();
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    nix::sys::socket::bind(listener.as_raw_fd(), &address).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    // Fills the queue, so that the next connect(2) would wait.
    let _queued = UnixStream::connect(&path).unwrap();
    let started = Instant::now();
    let error = exchange(&path, &status(), None, Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn nobody_there_is_unreachable_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let long = PathBuf::from(format!("/{}", "x".repeat(200)));
    for path in [dir.path().join("absent"), stale, file, long] {
        let error = exchange(&path, &status(), None, LONG).unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
        let away = path.ends_with("absent") || path.ends_with("stale") || path.ends_with("file");
        assert_eq!(
            error.nobody_there(),
            away,
            "{error:?}: nothing will come of waiting for a name that is none"
        );
        assert!(!error.cut_off());
    }
}
