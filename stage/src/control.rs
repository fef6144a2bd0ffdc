//! The control plane: etcd, the API server, the controllers and the scheduler, in the namespace of one instance.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

use crate::component::{Component, Content, Place, Ready, words};

/// Where the API server listens.
const PORT: u16 = 6443;
/// What services get; beside the VPC, as in EKS.
const SERVICES: &str = "172.20.0.0/16";
/// What would answer for names, of those.
pub(crate) const DNS: &str = "172.20.0.10";
const ETCD: &str = "http://127.0.0.1:2379";
const AUDIT_POLICY: &str = "audit-policy.json";

/// Who speaks to the API server. The user, and where it is in one, the group.
pub(crate) const ADMIN: User = User { name: "admin", user: "stage:admin", group: Some("system:masters") };
const CONTROLLERS: User = User { name: "controllers", user: "system:kube-controller-manager", group: None };
const SCHEDULER: User = User { name: "scheduler", user: "system:kube-scheduler", group: None };
pub(crate) const PROXY: User = User { name: "proxy", user: "system:kube-proxy", group: None };

/// A user that is no node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    user: &'static str,
    group: Option<&'static str>,
}

/// Users with their tokens, which are drawn by who makes this.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    users: Vec<(String, String)>,
    rows: Vec<String>,
}

impl Tokens {
    /// Draws one token for each user and node.
    pub(crate) fn draw(nodes: &[String], draw: &mut dyn FnMut() -> String) -> Self {
        let fixed = [ADMIN, CONTROLLERS, SCHEDULER, PROXY]
            .map(|user| (user.name.to_owned(), user.user.to_owned(), user.group.map(str::to_owned)));
        let kubelets = nodes
            .iter()
            .map(|node| (node.clone(), format!("system:node:{node}"), Some("system:nodes".to_owned())));
        let mut tokens = Self { users: Vec::new(), rows: Vec::new() };
        for (name, user, group) in fixed.into_iter().chain(kubelets) {
            let token = draw();
            let group = group.map_or_else(String::new, |group| format!(",\"{group}\""));
            tokens.rows.push(format!("{token},{user},{user}{group}\n"));
            tokens.users.push((name, token));
        }
        tokens
    }

    /// Of a node, or of a user by its short name.
    pub(crate) fn of(&self, name: &str) -> &str {
        self.users.iter().find(|(user, _)| user == name).map_or("", |(_, token)| token)
    }
}

/// How the API server is reached.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// The file of the authority that its certificate is of.
    pub(crate) authority: String,
}

impl Access {
    /// A configuration for a client. JSON is YAML.
    pub(crate) fn kubeconfig(&self, token: &str) -> String {
        let server = format!("https://{}:{PORT}", self.address);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "stage",
            "clusters": [{ "name": "stage", "cluster": { "server": server, "certificate-authority": self.authority } }],
            "users": [{ "name": "stage", "user": { "token": token } }],
            "contexts": [{ "name": "stage", "context": { "cluster": "stage", "user": "stage" } }],
        });
        text(&config)
    }
}

/// The authority's certificate: the last of the two that the API server makes for itself, once both are there. The first
/// one is its own, and no authority.
pub(crate) fn authority(pem: &str) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let mut parts: Vec<&str> = pem.split_inclusive(END).collect();
    parts.retain(|part| part.ends_with(END));
    parts.get(1).map(|certificate| format!("{}\n", certificate.trim()))
}

/// As a file's text.
pub(crate) fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Its files, below its folder `control`; the keys `sa.key` and `sa.pub` and the folder `pki` are made by programs.
pub(crate) fn files(access: &Access, tokens: &Tokens) -> Vec<Content> {
    let kubeconfig = |user: User| Content {
        path: format!("{}.kubeconfig", user.name).into(),
        text: access.kubeconfig(tokens.of(user.name)),
    };
    vec![
        Content { path: "tokens.csv".into(), text: tokens.rows.concat() },
        Content { path: AUDIT_POLICY.into(), text: text(&audit_policy()) },
        kubeconfig(CONTROLLERS),
        kubeconfig(SCHEDULER),
    ]
}

/// Each request of the network's daemon is noted, whoever else asks for what.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Metadata", "users": ["system:serviceaccount:kube-system:aws-node"] },
            { "level": "None" },
        ],
    })
}

/// The commands that make the key by which tokens of service accounts are signed, and the one by which they are judged.
pub(crate) fn keys(control: &Path) -> [Vec<String>; 2] {
    let (key, public) = (control.join("sa.key"), control.join("sa.pub"));
    let (key, public) = (key.display().to_string(), public.display().to_string());
    let make =
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key];
    [words(make), words(["openssl", "pkey", "-in", &key, "-pubout", "-out", &public])]
}

/// What runs first: the store and the API server.
pub(crate) fn api(bin: &Path, control: &Path, admin: &Path, address: Ipv4Addr) -> Vec<Component> {
    let file = |name: &str| control.join(name).display().to_string();
    let program = |name: &str| bin.join(name).display().to_string();
    let mut etcd = vec![program("etcd"), format!("--data-dir={}", file("etcd"))];
    etcd.extend(words([
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--log-level=warn",
        // A stage that loses power is made anew.
        "--unsafe-no-fsync",
    ]));
    let mut server = vec![
        program("kube-apiserver"),
        format!("--etcd-servers={ETCD}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={PORT}"),
        format!("--cert-dir={}", file("pki")),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--audit-policy-file={}", file(AUDIT_POLICY)),
        format!("--audit-log-path={}", file("audit.log")),
    ];
    server.extend(words([
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        // Or `exec` and `logs` would look a node's name up.
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    ]));
    let ready = vec![
        program("kubectl"),
        format!("--kubeconfig={}", admin.display()),
        "get".to_owned(),
        "--raw=/readyz".to_owned(),
    ];
    vec![
        Component::new("etcd", Place::Control, etcd),
        Component::new("kube-apiserver", Place::Control, server).ready(Ready::Command(ready)),
    ]
}

/// What needs the API server.
pub(crate) fn controllers(bin: &Path, control: &Path, access: &Access) -> Vec<Component> {
    let file = |name: &str| control.join(name).display().to_string();
    let program = |name: &str| bin.join(name).display().to_string();
    let mut manager = vec![
        program("kube-controller-manager"),
        format!("--kubeconfig={}", file("controllers.kubeconfig")),
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", access.authority),
    ];
    manager.extend(words([
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--allocate-node-cidrs=false",
    ]));
    let mut scheduler =
        vec![program("kube-scheduler"), format!("--kubeconfig={}", file("scheduler.kubeconfig"))];
    scheduler.extend(words(["--leader-elect=false", "--bind-address=127.0.0.1"]));
    vec![
        Component::new("kube-controller-manager", Place::Control, manager),
        Component::new("kube-scheduler", Place::Control, scheduler),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_second_certificate_once_it_is_whole() {
        let one = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        assert_eq!(authority(&one("a")), None);
        assert_eq!(authority(&format!("{}-----BEGIN CERTIFICATE-----\nb", one("a"))), None);
        assert_eq!(authority(&format!("{}{}", one("a"), one("b"))), Some(one("b")));
    }

    #[test]
    fn each_user_has_a_token_of_its_own_and_nodes_are_nodes() {
        let mut number = 0;
        let mut draw = || {
            number += 1;
            format!("t{number}")
        };
        let tokens = Tokens::draw(&["node-a".to_owned()], &mut draw);
        assert_eq!(
            [ADMIN.name, PROXY.name, "node-a", "node-b"].map(|name| tokens.of(name)),
            ["t1", "t4", "t5", ""]
        );
        assert!(
            tokens.rows.contains(&"t1,stage:admin,stage:admin,\"system:masters\"\n".to_owned()),
            "{:?}",
            tokens.rows
        );
        assert!(
            tokens.rows.contains(&"t4,system:kube-proxy,system:kube-proxy\n".to_owned()),
            "{:?}",
            tokens.rows
        );
        assert!(
            tokens.rows.contains(&"t5,system:node:node-a,system:node:node-a,\"system:nodes\"\n".to_owned()),
            "{:?}",
            tokens.rows
        );
    }
}
