//! What the proxy shows the daemon: a certificate that is valid, and one that will be.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use crate::api::certificate;

const CONFIGURATION: &str = "\
[ca]
default_ca = all
[all]
database = index
serial = serial
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[server]
subjectAltName = IP:127.0.0.1
";

/// The authority and its certificates, made by `openssl` in a folder that goes with this.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn make() -> Self {
        let this = Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        fs::write(this.file("configuration"), CONFIGURATION).unwrap();
        fs::write(this.file("index"), "").unwrap();
        fs::write(this.file("serial"), "01\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        this.openssl(&format!(
            "req -x509 -subj /CN=proxy-authority -days 30 {key} -keyout ca.key -out ca.crt"
        ));
        this.openssl(&format!("req -new -subj /CN=proxy {key} -keyout key -out request"));
        for (name, from, until) in [
            ("valid.crt", "20200101000000Z", "20990101000000Z"),
            ("future.crt", "20980101000000Z", "20990101000000Z"),
        ] {
            this.openssl(&format!(
                "ca -batch -notext -config configuration -extensions server -startdate {from} -enddate {until} -in request \
                 -out {name}"
            ));
        }
        this
    }

    /// The file of the authority, for who is to trust it.
    pub(crate) fn authority(&self) -> PathBuf {
        self.file("ca.crt")
    }

    pub(crate) fn acceptor(&self, is_of_the_future: bool) -> TlsAcceptor {
        let chain = vec![certificate(&self.file(if is_of_the_future { "future.crt" } else { "valid.crt" }))];
        let key = PrivateKeyDer::from_pem_file(self.file("key")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let arguments = arguments.split_whitespace();
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}
