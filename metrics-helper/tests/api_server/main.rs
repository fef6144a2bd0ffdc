//! Reading daemons by way of a real API server over a real etcd, each test with a pair of its own in a network namespace of its
//! own, where what stands in for daemons has addresses of its own.
//!
//! Both programs are named by `HOLDFAST_BIN_KUBE_APISERVER` and `HOLDFAST_BIN_ETCD`. They are built from Go modules, which takes
//! minutes, so these tests are run by name (`cargo test -p holdfast-metrics-helper --test api_server -- --ignored`) wherever the
//! programs are; without them they fail. They need root, `ip`, `setpriv` and `openssl`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod pods;
mod reading;

#[allow(dead_code, reason = "shared with the tests of the room below, which use more of it")]
#[path = "../../../cluster/tests/api_server/server.rs"]
mod server;
