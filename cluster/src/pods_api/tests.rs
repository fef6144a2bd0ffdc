use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use holdfast_model::ids::BootId;
use holdfast_model::time::{BootTime, Now, WallTime};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;

use super::wire::{ADDED, DELETED, INITIAL_SYNC_COMPLETE, MODIFIED, Metadata, Pod, Time, WatchPodsEvent};
use super::*;

struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now { boot: BootId::new("b"), boottime: BootTime(1), wall: WallTime(1) }
    }

    fn random(&self) -> u128 {
        0
    }
}

/// What kubelet answers to one call: messages, and whether it ends with a status or goes on.
struct Answer {
    messages: Vec<WatchPodsEvent>,
    status: Option<&'static str>,
}

/// A kubelet that gives these answers, one after the other, in pieces of a few bytes.
fn kubelet(folder: &std::path::Path, answers: Vec<Answer>) -> PathBuf {
    let socket = folder.join("pods-api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answers = answers.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let answer = answers.lock().unwrap().pop_front();
                async move {
                    assert_eq!(request.uri().path(), "/v1alpha1.Pods/WatchPods");
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    assert_eq!(
                        request.into_body().collect().await.unwrap().to_bytes(),
                        Bytes::from_static(&[0; 5])
                    );
                    Ok::<_, Infallible>(respond(answer))
                }
            });
            tokio::spawn(async move {
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _gone = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    socket
}

fn respond(
    answer: Option<Answer>,
) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
    let answer = answer.unwrap_or(Answer { messages: Vec::new(), status: None });
    let mut bytes = BytesMut::new();
    for message in answer.messages {
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut bytes).unwrap();
    }
    let mut frames: Vec<Frame<Bytes>> =
        bytes.chunks(7).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect();
    let goes_on = answer.status.is_none();
    if let Some(status) = answer.status {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        trailers.insert("grpc-message", HeaderValue::from_static("Kubelet is initializing"));
        frames.push(Frame::trailers(trailers));
    }
    let body = stream::unfold(frames.into_iter(), move |mut frames| async move {
        match frames.next() {
            Some(frame) => Some((Ok(frame), frames)),
            None if goes_on => std::future::pending().await,
            None => None,
        }
    });
    Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(body).boxed_unsync())
        .unwrap()
}

fn named(kind: i32, name: &str, uid: &str, pod_ips: Option<&str>) -> WatchPodsEvent {
    let metadata = Metadata {
        name: name.to_owned(),
        namespace: "ns".to_owned(),
        uid: uid.to_owned(),
        resource_version: "3".to_owned(),
        deletion_timestamp: (kind == MODIFIED).then(Time::default),
        annotations: pod_ips
            .map(|ips| ("vpc.amazonaws.com/pod-ips".to_owned(), ips.to_owned()))
            .into_iter()
            .collect(),
    };
    WatchPodsEvent { kind, pod: Pod { metadata: Some(metadata) }.encode_to_vec().into() }
}

fn all_named() -> WatchPodsEvent {
    WatchPodsEvent { kind: INITIAL_SYNC_COMPLETE, pod: Bytes::new() }
}

fn names(view: &View<PodView>) -> Vec<&str> {
    view.objects.keys().map(|key| key.name.as_str()).collect()
}

#[tokio::test]
async fn what_kubelet_does_not_know_yet_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let socket = kubelet(
        folder.path(),
        vec![
            Answer { messages: vec![], status: Some("9") },
            // It ends before it has named all.
            Answer { messages: vec![named(ADDED, "a", "u1", None)], status: Some("0") },
            Answer {
                messages: vec![
                    named(ADDED, "b", "u2", Some("10.0.0.1")),
                    named(ADDED, "c", "u3", None),
                    all_named(),
                    named(DELETED, "c", "u3", None),
                ],
                status: Some("8"),
            },
            // It has restarted.
            Answer { messages: vec![], status: Some("9") },
            Answer {
                messages: vec![named(ADDED, "d", "u4", None), all_named(), named(MODIFIED, "d", "u4", None)],
                status: None,
            },
        ],
    );
    let settings =
        KubeletSettings { socket, answer: Duration::from_secs(20), refresh: Duration::from_secs(600) };
    let (sender, mut view) = watch::channel(View::default());
    let following = tokio::spawn(follow_kubelet(settings, Arc::new(Still), sender));
    let mut until = async |is_so: &dyn Fn(&View<PodView>) -> bool| {
        tokio::time::timeout(Duration::from_secs(30), view.wait_for(|view| is_so(view)))
            .await
            .unwrap()
            .unwrap()
            .clone()
    };
    let seen = until(&|view| view.stale.is_some()).await;
    assert!(!seen.complete && seen.objects.is_empty());
    let words = seen.stale.unwrap().fault.to_string();
    assert_eq!(words, "kubelet cannot tell yet when asked to watch pods: Kubelet is initializing");
    let seen = until(&|view| !view.objects.is_empty()).await;
    assert!(!seen.complete, "it has not named all");
    let seen = until(&|view| view.complete && view.objects.len() == 1).await;
    assert_eq!(names(&seen), ["b"], "a is not among them, c ended");
    assert_eq!(seen.objects.values().next().unwrap().pod_ips.as_deref(), Some("10.0.0.1"));
    let seen = until(&|view| view.stale.is_some()).await;
    assert_eq!(names(&seen), ["b"], "what was known stays known");
    let seen = until(&|view| view.stale.is_none() && view.objects.values().any(|pod| pod.deleting)).await;
    assert_eq!(names(&seen), ["d"]);
    following.abort();
}

#[tokio::test]
async fn a_kubelet_without_the_api_is_no_kubelet_without_pods() {
    let folder = tempfile::tempdir().unwrap();
    let absent =
        Messages::ask(&folder.path().join("none"), "/v1alpha1.Pods/WatchPods", Duration::from_secs(5)).await;
    assert!(matches!(absent.err(), Some(Cause::NotReached(_))));
    let socket = kubelet(folder.path(), vec![Answer { messages: vec![], status: Some("12") }]);
    let mut messages =
        Messages::ask(&socket, "/v1alpha1.Pods/WatchPods", Duration::from_secs(5)).await.unwrap();
    assert_eq!(messages.next(Duration::from_secs(5)).await, Err(Cause::NotServed));
}

#[test]
fn the_end_of_an_older_pod_is_not_a_newer_ones() {
    let (mut told, mut view) = (Told::default(), View::default());
    let key = ObjectKey::new("ns", "p");
    let pod = PodView { uid: "new".into(), ..PodView::default() };
    assert!(told.event(PodEvent::Applied { key: key.clone(), pod }, &mut view));
    assert!(!told.event(PodEvent::Deleted { key: key.clone(), uid: "old".to_owned() }, &mut view));
    assert!(told.event(PodEvent::Deleted { key, uid: "new".to_owned() }, &mut view));
}
