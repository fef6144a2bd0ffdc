//! A daemon on a temporary socket that does what a test tells it.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use holdfast_wire::fd::{self, Descriptors};
use holdfast_wire::frame::{FrameDecoder, MAX_REQUEST};
use holdfast_wire::message::{Added, Answer, AnswerFrame, Face, Failed, RequestError, RequestFrame};

/// One request as it arrived.
pub(crate) struct Heard {
    pub(crate) request: RequestFrame,
    pub(crate) descriptors: Option<Descriptors<OwnedFd>>,
    pub(crate) extra: usize,
}

/// What the daemon does once it has the request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A whole answer.
    Answer(Answer),
    /// These bytes, then the end of the stream.
    Bytes(Vec<u8>),
    /// Nothing until the plugin gives up.
    Silence,
    /// As a daemon does that speaks protocol 1 alone: a refusal in it, which takes [`REFUSAL_TAKES`], or this.
    Protocol1(Answer),
}

/// How long a daemon of an older protocol takes to say so.
pub(crate) const REFUSAL_TAKES: Duration = Duration::from_millis(30);

pub(crate) struct FakeDaemon {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Heard>>,
}

impl FakeDaemon {
    /// Listens at `socket` and gives each client the same reply.
    pub(crate) fn start(socket: &Path, reply: Reply) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut heard = Vec::new();
            loop {
                // Read before accepting: a client that came before the stop is still served.
                let last = stopped.load(Ordering::SeqCst);
                match listener.accept() {
                    Ok((stream, _)) => heard.push(serve(stream, &reply)),
                    Err(_) if last => return heard,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { stop, thread }
    }

    /// What it has heard.
    pub(crate) fn stop(self) -> Vec<Heard> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }

    /// The only thing that it has heard.
    pub(crate) fn only(self) -> Heard {
        let mut heard = self.stop();
        assert_eq!(heard.len(), 1, "requests");
        heard.remove(0)
    }
}

/// Takes one request and gives the reply.
pub(crate) fn serve(mut stream: UnixStream, reply: &Reply) -> Heard {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut decoder = FrameDecoder::new(MAX_REQUEST);
    let (mut descriptors, mut extra) = (None, 0);
    let body = loop {
        if let Some(body) = decoder.next_frame().unwrap() {
            break body;
        }
        let mut buffer = [0; 1024];
        let got = fd::receive(&stream, &mut buffer).unwrap();
        assert!(got.bytes > 0, "the plugin hung up inside its request");
        decoder.push(&buffer[..got.bytes]);
        extra += got.surplus.len();
        descriptors = descriptors.or(got.descriptors);
    };
    assert_eq!(decoder.finish(), Ok(()), "one request and nothing after it");
    let request = RequestFrame::decode(&body).unwrap();
    match reply {
        Reply::Protocol1(_) if request.protocol != 1 => {
            thread::sleep(REFUSAL_TAKES);
            let refusal = RequestError::Protocol { asked: request.protocol }.answer();
            stream.write_all(&AnswerFrame::new(refusal, 1, "fake").encode().unwrap()).unwrap();
        }
        Reply::Protocol1(answer) => {
            let frame = AnswerFrame::new(answer.clone(), 1, "fake").encode().unwrap();
            stream.write_all(&frame).unwrap();
        }
        Reply::Answer(answer) => {
            let frame = AnswerFrame::new(answer.clone(), request.protocol, "fake").encode().unwrap();
            stream.write_all(&frame).unwrap();
        }
        Reply::Bytes(bytes) => stream.write_all(bytes).unwrap(),
        Reply::Silence => {
            let waiting = Instant::now();
            let got = fd::receive(&stream, &mut [0; 8]).unwrap();
            assert_eq!(got.bytes, 0, "the plugin gives up by closing");
            assert!(waiting.elapsed() < Duration::from_secs(15));
        }
    }
    Heard { request, descriptors, extra }
}

/// An ADD carried out.
pub(crate) fn added() -> Reply {
    Reply::Answer(of_add())
}

pub(crate) fn of_add() -> Answer {
    let own = Face {
        ifname: None,
        address: "10.0.5.17".parse().unwrap(),
        device_number: 1,
        route_table: 2,
        host_veth: "enicc21c2d7785".into(),
        host_mac: "02:00:00:00:00:01".into(),
    };
    Answer::Added(Added { own, more: Vec::new() })
}

/// A refusal.
pub(crate) fn failed(code: u32) -> Reply {
    let details = "subnet-1 has no free address".to_owned();
    Reply::Answer(Answer::Failed(Failed { code, msg: "no address for the pod".into(), details, retry: true }))
}

/// Replies that are no answer at all, with a name.
pub(crate) fn broken_replies() -> Vec<(&'static str, Reply)> {
    let frame = |body: &[u8]| {
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    };
    let mut truncated = frame(br#"{"protocol":1,"answer":{"kind":"done"}}"#);
    truncated.truncate(20);
    vec![
        ("closed without an answer", Reply::Bytes(Vec::new())),
        ("truncated header", Reply::Bytes(vec![0, 0])),
        ("truncated body", Reply::Bytes(truncated)),
        ("oversized", Reply::Bytes(vec![0xff; 64])),
        ("not JSON", Reply::Bytes(frame(b"\xff\xfe not json"))),
        ("empty frame", Reply::Bytes(frame(b""))),
        (
            "unknown answer of a newer daemon",
            Reply::Bytes(frame(br#"{"protocol":9,"answer":{"kind":"queued"}}"#)),
        ),
    ]
}
