use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use holdfast_model::config::{Config, Setting};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;

use super::*;
use crate::example::{Still, full, record};
use crate::{Introspection, Metrics, Snapshot, Standing};

/// The kernel chooses a port; nobody else gets it while its listener lives.
async fn somewhere() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn served(site: impl Site) -> Served {
    let (listener, address) = somewhere().await;
    let stop = CancellationToken::new();
    let accepting = async move { accept(&Listener::Tcp(listener), Arc::new(site)).await };
    let task = tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
    let task = tokio::spawn(async move { drop(task.await) });
    Served { address, stop, task }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Head and body.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let answer = exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn still() -> Still {
    Still { snapshot: full(), ledger: None, config: Config::default() }
}

#[tokio::test]
async fn metrics_are_at_their_path_and_nowhere_else() {
    tokio::time::pause();
    let record = Arc::new(record().await);
    tokio::time::resume();
    let served = served(Metrics::new(record, Arc::new(still()))).await;
    let (head, body) = get(served.address, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("\nawscni_assigned_ip_addresses 2\n"), "{body}");
    let (head, _) = get(served.address, "/").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let stream = TcpStream::connect(served.address).await.unwrap();
    let posted = exchange(stream, "POST /metrics HTTP/1.1\r\nHost: n\r\nContent-Length: 0\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    served.stop.cancel();
    served.task.await.unwrap();
}

#[tokio::test]
async fn introspection_has_the_incumbents_paths_and_shapes() {
    let mut source = still();
    source.config.snat_exclusions = Setting::from_environment(vec!["10.8.0.0/16".parse().unwrap()]);
    let served = served(Introspection::new(Arc::new(source))).await;
    let json = async |path| {
        let (head, body) = get(served.address, path).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let commands = json!({"AvailableCommands": [
        "/v1/enis", "/v1/eni-configs", "/v1/networkutils-env-settings", "/v1/ipamd-env-settings",
    ]});
    for path in ["/", "/v1/pods", "/v1"] {
        assert_eq!(json(path).await, commands, "{path}");
    }
    assert_eq!(
        json("/v1/networkutils-env-settings").await,
        json!({
            "AWS_EXTERNAL_SERVICE_CIDRS": null, "AWS_VPC_CNI_NODE_PORT_SUPPORT": true, "AWS_VPC_ENI_MTU": 9001,
            "AWS_VPC_K8S_CNI_CONNMARK": 128, "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS": ["10.8.0.0/16"],
            "AWS_VPC_K8S_CNI_EXTERNALSNAT": false, "AWS_VPC_K8S_CNI_RANDOMIZESNAT": 2,
            "AWS_VPC_K8S_CNI_VETHPREFIX": "eni",
        })
    );
    assert_eq!(
        json("/v1/ipamd-env-settings").await,
        json!({
            "AWS_MANAGE_ENIS_NON_SCHEDULABLE": true, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": false,
            "ENABLE_SUBNET_DISCOVERY": true, "WARM_ENI_TARGET": 1, "WARM_IP_TARGET": 0,
        })
    );
    let (head, _) = get(served.address, "/v1/eni-configs").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let (head, _) = get(served.address, "/v1/enis").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "the ledger is not open: {head}");
}

/// Pods can reach the port.
#[tokio::test]
async fn clients_that_say_nothing_or_too_much_are_let_go_and_hinder_nobody() {
    tokio::time::pause();
    let record = Arc::new(record().await);
    tokio::time::resume();
    let served = served(Metrics::new(record, Arc::new(still()))).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 * HEAD));
    let answer = exchange(TcpStream::connect(served.address).await.unwrap(), &long).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // Four times as many as there is room for, each in the middle of its request, and they come again as they are let go.
    let mut silent = Vec::new();
    let begun = std::time::Instant::now();
    for round in 0..4 {
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(b"GET /metr").await.unwrap();
            silent.push(stream);
        }
        let (head, _) = get(served.address, "/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{round}: {head}");
    }
    assert!(begun.elapsed() < HEAD_PATIENCE, "they were waited for: {:?}", begun.elapsed());
    let mut byte = [0];
    let mut let_go = 0;
    for stream in &mut silent {
        let within = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte)).await;
        let_go += usize::from(within.is_ok());
    }
    assert!(silent.len() - let_go <= CONNECTIONS, "no more are kept than there is room for");
}

/// One that takes its answer slowly does not have to make room for those that have asked for nothing.
#[tokio::test]
async fn who_has_asked_makes_room_last() {
    struct Slow;
    impl Site for Slow {
        async fn page(&self, _path: &str) -> Page {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Page::json("{}")
        }
    }
    let served = served(Slow).await;
    let asked = tokio::spawn(get(served.address, "/"));
    let asked = async { asked.await.unwrap() };
    let mut silent = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), async {
        tokio::pin!(asked);
        let (head, _) = loop {
            silent.push(TcpStream::connect(served.address).await.unwrap());
            let next = tokio::time::timeout(Duration::from_millis(2), &mut asked).await;
            if let Ok(answer) = next {
                break answer;
            }
        };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(silent.len() > 2 * CONNECTIONS, "{} came meanwhile", silent.len());
    })
    .await
    .unwrap();
}

/// Told in the log, and had when it is free.
#[tokio::test]
async fn a_port_that_is_taken_is_tried_again() {
    let (taken, address) = somewhere().await;
    let stop = CancellationToken::new();
    let source = Still { snapshot: Snapshot { standing: Standing::Refusing, ..full() }, ..still() };
    let site = Arc::new(Introspection::new(Arc::new(source)));
    let serving = tokio::spawn(serve("introspection", Place::Tcp(vec![address]), site, stop.clone()));
    // Its first try fails; this one's place is nobody's from here on.
    tokio::task::yield_now().await;
    drop(taken);
    let answered = async {
        loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                break exchange(stream, "GET / HTTP/1.1\r\nHost: n\r\n\r\n").await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), answered).await.unwrap();
    assert!(answer.contains("AvailableCommands"), "{answer}");
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_socket_that_a_dead_process_left_is_taken_and_a_live_ones_or_a_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("introspection.sock");
    let place = Place::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "its file stays");
    let stop = CancellationToken::new();
    let site = Arc::new(Introspection::new(Arc::new(still())));
    let serving = tokio::spawn(serve("introspection", place.clone(), Arc::clone(&site), stop.clone()));
    let answered = async {
        loop {
            if let Ok(stream) = UnixStream::connect(&path).await {
                break exchange(stream, "GET / HTTP/1.1\r\nHost: n\r\n\r\n").await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), answered).await.unwrap();
    assert!(answer.contains("AvailableCommands"), "{answer}");
    assert!(Listener::bind(&place).await.is_err(), "somebody serves there");
    stop.cancel();
    serving.await.unwrap();
    assert!(!path.exists(), "gone with its server");
    std::fs::write(&path, "somebody's").unwrap();
    assert!(Listener::bind(&place).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
}

#[tokio::test]
async fn clients_of_both_families_come_in_by_one_port() {
    let listener = Listener::bind(&Place::everywhere(0)).await.unwrap();
    let Listener::Tcp(listener) = &listener else { panic!("a port is TCP's") };
    let port = listener.local_addr().unwrap().port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let own = listener.local_addr().unwrap();
    assert!(own.ip().is_unspecified(), "{own}");
    if own.is_ipv6() {
        TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).await.unwrap();
    }
}
