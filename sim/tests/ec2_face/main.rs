//! The EC2 Query API and the admin interface over real loopback HTTP.

#[path = "../loopback/mod.rs"]
mod loopback;

mod admin;
mod answers;
mod bodies;
mod calls;
mod refusals;
mod signatures;
