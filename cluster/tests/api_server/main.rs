//! Against a real API server over a real etcd, each test with a pair of its own in a network namespace of its own.
//!
//! Both programs are named by `HOLDFAST_BIN_KUBE_APISERVER` and `HOLDFAST_BIN_ETCD`. They are built from Go modules, which takes
//! minutes, so these tests are run by name (`cargo test -p holdfast-cluster --test api_server -- --ignored`) wherever the
//! programs are; without them they fail. They need root, `ip`, `setpriv` and `openssl`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod faults;
mod follow;
mod footprint;
mod objects;
mod proxy;
mod server;
mod writes;
