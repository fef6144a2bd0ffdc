use serde_json::{Value, json};

use super::*;
use crate::frame::FrameDecoder;
use crate::ids::{ContainerId, IfName};

fn sandbox() -> SandboxKey {
    SandboxKey {
        network: NetworkName::new("aws-cni").unwrap(),
        container_id: ContainerId::new("3f5c").unwrap(),
        ifname: IfName::new("eth0").unwrap(),
    }
}

fn requests() -> Vec<Request> {
    let pod = PodRef { namespace: "default".into(), name: "web-0".into(), uid: Some("u-1".into()) };
    let attachment = Attachment { container_id: sandbox().container_id, ifname: sandbox().ifname };
    vec![
        Request::Add(Add {
            sandbox: sandbox(),
            pod: pod.clone(),
            netns_path: "/run/netns/x".into(),
            mtu: 9001,
            veth_prefix: VethPrefix::new("eni").unwrap(),
            enforcing_mode: EnforcingMode::Standard,
            on_every_card: true,
        }),
        Request::Del(Del { sandbox: sandbox(), pod: Some(pod), netns_path: None }),
        Request::Check(Check {
            sandbox: sandbox(),
            netns_path: "/run/netns/x".into(),
            expected: vec!["10.0.0.9".parse().unwrap()],
        }),
        Request::Status(Status { network: sandbox().network }),
        Request::Gc(Gc { network: sandbox().network, valid: vec![attachment] }),
    ]
}

fn face(ifname: Option<IfName>) -> Face {
    Face {
        ifname,
        address: "10.0.0.9".parse().unwrap(),
        device_number: 2,
        route_table: 3,
        host_veth: "enicc21c2d7785".into(),
        host_mac: "02:00:00:00:00:01".into(),
    }
}

fn body(frame: &[u8]) -> Vec<u8> {
    let mut decoder = FrameDecoder::new(MAX_REQUEST);
    decoder.push(frame);
    decoder.next_frame().unwrap().unwrap()
}

#[test]
fn every_request_survives_the_wire() {
    for request in requests() {
        let sent = RequestFrame::new(request, "1.2.3", 5000);
        assert_eq!(RequestFrame::decode(&body(&sent.encode().unwrap())).unwrap(), sent);
    }
}

/// A call does not fail for what its caller says of its trace.
#[test]
fn a_trace_survives_the_wire_if_it_is_one() {
    let trace = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert!(trace.is_some());
    let sent = RequestFrame::new(requests().remove(0), "1.2.3", 5000).of_trace(trace);
    assert_eq!(RequestFrame::decode(&body(&sent.encode().unwrap())).unwrap(), sent);
    for (told, is_one) in [(json!("00-no"), false), (Value::Null, false), (json!(sent.trace), true)] {
        let mut value = serde_json::to_value(&sent).unwrap();
        value["trace"] = told;
        let read = RequestFrame::decode(value.to_string().as_bytes()).unwrap();
        assert_eq!(read.trace.is_some(), is_one, "{value}");
    }
}

#[test]
fn every_answer_survives_the_wire() {
    let added = |more| Added { own: face(None), more };
    let more = vec![face(Some(IfName::new("mNicIf1").unwrap()))];
    let failed = Failed { code: 11, msg: "m".into(), details: "d".into(), retry: true };
    for answer in
        [Answer::Added(added(Vec::new())), Answer::Added(added(more)), Answer::Done, Answer::Failed(failed)]
    {
        let sent = AnswerFrame::new(answer, 2, "1.2.3");
        assert_eq!(AnswerFrame::decode(&body(&sent.encode().unwrap())).unwrap(), sent);
    }
}

/// Frozen text of protocol 1: what is deployed must stay readable when the types here are edited.
#[test]
fn requests_of_protocol_1_stay_readable() {
    let add = r#"{"protocol":1,"request":{"kind":"add","sandbox":{"network":"aws-cni","container_id":"3f5c","ifname":"eth0"},
        "pod":{"namespace":"default","name":"web-0"},"netns_path":"/run/netns/x","mtu":9001,"veth_prefix":"eni"}}"#;
    let read = RequestFrame::decode(add.as_bytes()).unwrap();
    let Request::Add(add) = read.request else { panic!("{read:?}") };
    assert_eq!((add.mtu, add.enforcing_mode, add.pod.uid), (9001, EnforcingMode::Strict, None));
    assert!(!add.on_every_card);
    for (text, command) in [
        (r#"{"kind":"del","sandbox":{"network":"n","container_id":"c","ifname":"i"}}"#, "DEL"),
        (
            r#"{"kind":"check","sandbox":{"network":"n","container_id":"c","ifname":"i"},"netns_path":"/x"}"#,
            "CHECK",
        ),
        (r#"{"kind":"status","network":"n"}"#, "STATUS"),
        (r#"{"kind":"gc","network":"n","valid":[{"containerID":"c","ifname":"i"}]}"#, "GC"),
    ] {
        let read = RequestFrame::decode(format!(r#"{{"protocol":1,"request":{text}}}"#).as_bytes()).unwrap();
        assert_eq!(read.request.command(), command);
    }
    for text in [
        r#"{"protocol":1,"answer":{"kind":"added","address":"10.0.0.9","device_number":0,"route_table":254,"host_veth":"eni1"}}"#,
        r#"{"protocol":1,"answer":{"kind":"done"}}"#,
        r#"{"protocol":1,"answer":{"kind":"failed","code":11,"msg":"m"}}"#,
    ] {
        AnswerFrame::decode(text.as_bytes()).unwrap();
    }
}

/// What a plugin of protocol 1 looks for is where it was, however many interfaces there are.
#[test]
fn a_plugin_of_protocol_1_reads_the_first_interface() {
    let more = vec![face(Some(IfName::new("mNicIf1").unwrap()))];
    let answer = AnswerFrame::new(Answer::Added(Added { own: face(None), more }), 1, "1.2.3");
    let answer = serde_json::to_value(&answer).unwrap()["answer"].clone();
    assert_eq!((&answer["kind"], &answer["address"]), (&json!("added"), &json!("10.0.0.9")));
    assert_eq!((&answer["device_number"], &answer["route_table"]), (&json!(2), &json!(3)));
    assert_eq!(
        (&answer["host_veth"], &answer["more"][0]["ifname"]),
        (&json!("enicc21c2d7785"), &json!("mNicIf1"))
    );
}

#[test]
fn a_daemon_is_asked_again_in_the_protocol_that_it_speaks() {
    let refusal = |protocol, code| {
        let failed = Failed { code, msg: "no".into(), details: String::new(), retry: false };
        AnswerFrame::new(Answer::Failed(failed), protocol, "1.2.3")
    };
    assert_eq!(refusal(1, code::PROTOCOL).speaks_only(2), Some(1));
    assert_eq!(refusal(2, code::PROTOCOL).speaks_only(2), None, "it refuses something else");
    assert_eq!(
        refusal(3, code::PROTOCOL).speaks_only(2),
        None,
        "nor can it be asked in what is newer than we are"
    );
    assert_eq!(refusal(0, code::PROTOCOL).speaks_only(2), None, "older than anything that we speak");
    assert_eq!(refusal(1, code::FAILED).speaks_only(2), None);
    assert_eq!(AnswerFrame::new(Answer::Done, 1, "1.2.3").speaks_only(2), None);
}

/// Adds an unknown key to every object of a message, as a newer peer would.
fn from_the_future(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(from_the_future);
            map.insert("added_in_2031".into(), json!({"x": [1, 2]}));
        }
        Value::Array(list) => list.iter_mut().for_each(from_the_future),
        _ => {}
    }
}

#[test]
fn unknown_fields_are_ignored_everywhere() {
    for request in requests() {
        let sent = RequestFrame::new(request, "9.9.9", 1);
        let mut value = serde_json::to_value(&sent).unwrap();
        from_the_future(&mut value);
        assert_eq!(RequestFrame::decode(value.to_string().as_bytes()).unwrap(), sent);
    }
    let sent = AnswerFrame::new(Answer::Done, 1, "9.9.9");
    let mut value = serde_json::to_value(&sent).unwrap();
    from_the_future(&mut value);
    assert_eq!(AnswerFrame::decode(value.to_string().as_bytes()).unwrap(), sent);
}

#[test]
fn a_foreign_protocol_is_refused_by_number_whatever_the_rest_looks_like() {
    for text in [r#"{"protocol":7,"request":{"kind":"teleport"}}"#, r#"{"protocol":0}"#] {
        let error = RequestFrame::decode(text.as_bytes()).unwrap_err();
        let RequestError::Protocol { asked } = error else { panic!("{error:?}") };
        let Answer::Failed(failed) = error.answer() else { panic!() };
        assert_eq!(failed.code, code::PROTOCOL);
        assert!(
            failed.details.contains(&format!("protocol {asked}, this daemon 1 to 2")),
            "{}",
            failed.details
        );
    }
}

#[test]
fn what_is_no_request_is_malformed_with_the_cause() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        r#"{"protocol":"1"}"#,
        r#"{"protocol":1}"#,
        r#"{"protocol":70000}"#,
        r#"{"protocol":1,"request":{"kind":"teleport"}}"#,
        r#"{"protocol":1,"request":{"kind":"status","network":"../../etc"}}"#,
    ] {
        let error = RequestFrame::decode(text.as_bytes()).unwrap_err();
        assert!(matches!(error, RequestError::Malformed(_)), "{text}: {error:?}");
        let Answer::Failed(failed) = error.answer() else { panic!() };
        assert!(!failed.details.is_empty());
    }
}

#[test]
fn gc_of_a_full_node_fits_a_frame() {
    let valid = (0..2000)
        .map(|i| Attachment {
            container_id: ContainerId::new(&format!("{i:064x}")).unwrap(),
            ifname: IfName::new("eth0").unwrap(),
        })
        .collect();
    let gc = Request::Gc(Gc { network: sandbox().network, valid });
    assert!(RequestFrame::new(gc, "1", 1).encode().unwrap().len() < MAX_REQUEST);
}

#[test]
fn only_add_and_check_are_void_without_a_namespace() {
    let needing: Vec<_> = requests().iter().filter(|r| r.needs_netns()).map(Request::command).collect();
    assert_eq!(needing, ["ADD", "CHECK"]);
}
