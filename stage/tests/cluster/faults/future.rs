//! A token of the daemon's service account that is right in everything but its time, as one is that a server with a fast clock has
//! given out.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::api::{Api, Ask};
use crate::daemon::ACCOUNT;
use crate::rig::Stage;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const HOUR: u64 = 3600;

/// Signed by the key that the API server judges by, and valid from an hour to come on.
pub(super) fn token(stage: &Stage, api: &Api, node: &str) -> String {
    let uid = |path: &str| api.ask(Ask::get(path))["metadata"]["uid"].clone();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": [ISSUER], "sub": "system:serviceaccount:kube-system:aws-node",
        "iat": now + HOUR, "nbf": now + HOUR, "exp": now + 2 * HOUR,
        "kubernetes.io": {
            "namespace": "kube-system",
            "serviceaccount": { "name": "aws-node", "uid": uid(ACCOUNT) },
            "node": { "name": node, "uid": uid(&format!("/api/v1/nodes/{node}")) },
        },
    });
    let part = |value: &serde_json::Value| base64url(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(&claims));
    let signature = raw(&sign(&stage.folder().join("control/sa.key"), signed.as_bytes()));
    format!("{signed}.{}", base64url(&signature))
}

fn sign(key: &std::path::Path, text: &[u8]) -> Vec<u8> {
    assert!(fs::metadata(key).unwrap().is_file());
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(text).unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// From DER, a sequence of two integers, to the two numbers of 32 bytes each that a token has (RFC 7518, 3.4).
fn raw(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut raw = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        raw.extend(std::iter::repeat_n(0, 32 - number.len()));
        raw.extend(number);
        rest = &rest[2 + length..];
    }
    raw
}

fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all =
            chunk.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(LETTERS[(all >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}
