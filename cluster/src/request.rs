//! The requests that are made of the API server.

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use kube::api::{ListParams, WatchParams};
use kube::core::Request as Path;

use crate::asked::{Asked, Kind, Server, Verb};
use crate::fault::{ApiFault, Cause};

/// Objects that are followed: all of a kind, or those that a field selector picks. The selector is the server's work: what
/// it does not pick never comes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The kind.
    pub kind: Kind,
    /// In one namespace only.
    pub namespace: Option<String>,
    /// As `metadata.name=node-1`.
    pub fields: Option<String>,
    /// Whether no more than their metadata is wanted.
    pub metadata_only: bool,
}

/// A request, and what it asks for. The client adds server and token.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// For the fault's words.
    pub asked: Asked,
    /// The request.
    pub http: Request<Vec<u8>>,
}

impl Selection {
    fn asked(&self, verb: Verb) -> Asked {
        Asked {
            server: Server::Api,
            verb,
            kind: self.kind,
            subresource: None,
            namespace: self.namespace.clone(),
            which: self.fields.clone(),
        }
    }

    /// One page of the list, from the start or from where a page before left off. As new as the store is, not as a cache
    /// may be: the first page asks for no version.
    pub fn list(&self, page_size: u32, continued: Option<&str>) -> Result<Prepared, ApiFault> {
        let params = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(page_size),
            continue_token: continued.map(str::to_owned),
            ..ListParams::default()
        };
        let path = Path::new(self.kind.path(self.namespace.as_deref()));
        let request = if self.metadata_only { path.list_metadata(&params) } else { path.list(&params) };
        prepared(self.asked(Verb::List), request)
    }

    /// The changes since a version, for at most so many seconds.
    pub fn watch(&self, version: &str, seconds: u32) -> Result<Prepared, ApiFault> {
        let params = WatchParams {
            field_selector: self.fields.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        let path = Path::new(self.kind.path(self.namespace.as_deref()));
        let request = if self.metadata_only {
            path.watch_metadata(&params, version)
        } else {
            path.watch(&params, version)
        };
        let mut prepared = prepared(self.asked(Verb::Watch), request)?;
        // Newer servers compress each event by itself where that is not refused.
        prepared
            .http
            .headers_mut()
            .insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        Ok(prepared)
    }
}

fn prepared(
    asked: Asked,
    request: Result<Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<Prepared, ApiFault> {
    match request {
        Ok(http) => Ok(Prepared { asked, http }),
        Err(error) => Err(not_a_request(asked, holdfast_model::chain(&error))),
    }
}

/// What cannot be written down: a name that no object can have.
fn not_a_request(asked: Asked, words: String) -> ApiFault {
    ApiFault { asked: Box::new(asked), cause: Cause::Refused(words) }
}

/// Names come from runtimes as well as from the server. One with a slash in it would be another path.
fn is_a_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
}

/// One page of the pods of a namespace that have these labels, with all that there is of each.
pub fn labelled_pods(
    namespace: &str,
    labels: &str,
    page_size: u32,
    continued: Option<&str>,
) -> Result<Prepared, ApiFault> {
    let params = ListParams {
        label_selector: Some(labels.to_owned()),
        limit: Some(page_size),
        continue_token: continued.map(str::to_owned),
        ..ListParams::default()
    };
    let asked = Asked {
        server: Server::Api,
        verb: Verb::List,
        kind: Kind::PODS,
        subresource: None,
        namespace: Some(namespace.to_owned()),
        which: Some(labels.to_owned()),
    };
    if !is_a_name(namespace) {
        return Err(not_a_request(asked, "no namespace has such a name".to_owned()));
    }
    prepared(asked, Path::new(Kind::PODS.path(Some(namespace))).list(&params))
}

/// What a pod serves at a port and path, by way of the API server. `path` begins with a slash. The answer is the pod's.
pub fn proxied(namespace: &str, pod: &str, port: u16, path: &str) -> Result<Prepared, ApiFault> {
    let asked = Asked { subresource: Some("proxy"), ..named(Verb::Get, Kind::PODS, namespace, pod)? };
    let pods = Kind::PODS.path(Some(namespace));
    let request = Request::get(format!("{pods}/{pod}:{port}/proxy{path}"))
        .header(ACCEPT, "text/plain")
        .header(http::header::ACCEPT_ENCODING, "identity")
        .body(Vec::new());
    written(asked, request)
}

/// How a patch is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902: steps, each of which may be a test that everything depends on.
    Json,
    /// RFC 7386: fields that take the place of fields.
    Merge,
    /// The same where lists are merged by their keys; for built-in kinds only.
    Strategic,
}

/// Changes one object. The answer is its metadata alone.
pub fn patch(
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
    subresource: Option<&'static str>,
    patch_type: PatchType,
    body: Vec<u8>,
) -> Result<Prepared, ApiFault> {
    let mut path = format!("{}/{name}", kind.path(namespace));
    if let Some(part) = subresource {
        path = format!("{path}/{part}");
    }
    let asked = Asked {
        server: Server::Api,
        verb: Verb::Patch,
        kind,
        subresource,
        namespace: namespace.map(str::to_owned),
        which: Some(name.to_owned()),
    };
    if !is_a_name(name) || !namespace.is_none_or(is_a_name) {
        return Err(not_a_request(asked, "no object has such a name".to_owned()));
    }
    let request = Request::patch(format!("{path}?fieldManager={MANAGER}"))
        .header(ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        .header(
            CONTENT_TYPE,
            match patch_type {
                PatchType::Json => "application/json-patch+json",
                PatchType::Merge => "application/merge-patch+json",
                PatchType::Strategic => "application/strategic-merge-patch+json",
            },
        )
        .body(body);
    match request {
        Ok(http) => Ok(Prepared { asked, http }),
        Err(error) => Err(not_a_request(asked, holdfast_model::chain(&error))),
    }
}

/// Makes one object. The answer is its metadata alone.
pub fn create(kind: Kind, namespace: &str, body: Vec<u8>) -> Result<Prepared, ApiFault> {
    let asked = Asked {
        server: Server::Api,
        verb: Verb::Create,
        kind,
        subresource: None,
        namespace: Some(namespace.to_owned()),
        which: None,
    };
    if !is_a_name(namespace) {
        return Err(not_a_request(asked, "no namespace has such a name".to_owned()));
    }
    let request = Request::post(format!("{}?fieldManager={MANAGER}", kind.path(Some(namespace))))
        .header(ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        .header(CONTENT_TYPE, "application/json")
        .body(body);
    match request {
        Ok(http) => Ok(Prepared { asked, http }),
        Err(error) => Err(not_a_request(asked, holdfast_model::chain(&error))),
    }
}

/// Reads one object, as new as the store is. The answer is the whole object.
pub fn get(kind: Kind, namespace: &str, name: &str) -> Result<Prepared, ApiFault> {
    let asked = named(Verb::Get, kind, namespace, name)?;
    let request = Request::get(format!("{}/{name}", kind.path(Some(namespace))))
        .header(ACCEPT, "application/json")
        .body(Vec::new());
    written(asked, request)
}

/// Puts an object in the place of the one of its version, or makes it where it names none, for the kinds that allow that:
/// the server then asks for the right to create this very name, which `create` alone cannot be narrowed to. The answer is
/// the whole object.
pub fn replace(kind: Kind, namespace: &str, name: &str, body: Vec<u8>) -> Result<Prepared, ApiFault> {
    let asked = named(Verb::Update, kind, namespace, name)?;
    let path = kind.path(Some(namespace));
    let request = Request::put(format!("{path}/{name}?fieldManager={MANAGER}"))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .body(body);
    written(asked, request)
}

/// Says by server-side apply what the fields in the body are to be, and that they are [`MANAGER`]'s, whoever has them. What
/// was its and is not in the body is its no more. The answer is the object's metadata alone.
pub fn apply(kind: Kind, namespace: &str, name: &str, body: Vec<u8>) -> Result<Prepared, ApiFault> {
    let asked = named(Verb::Patch, kind, namespace, name)?;
    let path = kind.path(Some(namespace));
    let request = Request::patch(format!("{path}/{name}?fieldManager={MANAGER}&force=true"))
        .header(ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        // JSON is YAML, and so it is called.
        .header(CONTENT_TYPE, "application/apply-patch+yaml")
        .body(body);
    written(asked, request)
}

/// What is asked of one object in a namespace, unless none can have such a name.
fn named(verb: Verb, kind: Kind, namespace: &str, name: &str) -> Result<Asked, ApiFault> {
    let asked = Asked {
        server: Server::Api,
        verb,
        kind,
        subresource: None,
        namespace: Some(namespace.to_owned()),
        which: Some(name.to_owned()),
    };
    if is_a_name(name) && is_a_name(namespace) {
        Ok(asked)
    } else {
        Err(not_a_request(asked, "no object has such a name".to_owned()))
    }
}

fn written(asked: Asked, request: http::Result<Request<Vec<u8>>>) -> Result<Prepared, ApiFault> {
    match request {
        Ok(http) => Ok(Prepared { asked, http }),
        Err(error) => Err(not_a_request(asked, holdfast_model::chain(&error))),
    }
}

/// By what name the server notes who wrote a field.
pub const MANAGER: &str = "holdfast";
