//! The door to the API server.
//!
//! Start reading at [`crd`].

pub mod crd;
