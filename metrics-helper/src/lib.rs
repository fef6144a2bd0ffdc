//! What runs once for a cluster to publish its figures: `holdfast metrics-helper`, in the place of the Amazon VPC CNI's
//! `cni-metrics-helper`, under its names.
//!
//! What it owns: reading every daemon's page by way of the API server ([`mod@daemons`]), adding the pages up ([`round`], by the
//! [`table`] of what is published, with the [`growth`] of counters told pod by pod), and the queue of what waits for CloudWatch
//! ([`backlog`]).
//!
//! What it never does: take a page that did not come for one of zeros, publish what is not known, hold more than a bounded number
//! of rounds, or see kube or the AWS SDK. There is one of it in a cluster, so there is no election; what it knows of counters is
//! gone with its process.
//!
//! ```text
//!   pods of the daemons ──> one for each node ──> pages ──> figures ──┬──> round ──> backlog ──> CloudWatch
//!   (a list)                                      (by the API         │      └─────> a page for Prometheus
//!                                                  server's proxy)  growth
//! ```
//!
//! # What its role must allow
//!
//! | API group | resource, in its own namespace | verbs |
//! |---|---|---|
//! | core | `pods` | list |
//! | core | `pods/proxy` | get |
//!
//! and in AWS `cloudwatch:PutMetricData`; `ec2:DescribeTags` where the cluster's name is not set.
//!
//! Start reading at [`table`], then [`round`] and [`mod@run`].

pub mod backlog;
pub mod daemons;
pub mod exposition;
pub mod figures;
pub mod growth;
pub mod losses;
pub mod name;
pub mod publish;
pub mod round;
pub mod run;
pub mod settings;
pub mod table;
pub mod told;
pub mod turns;

pub use publish::Publisher;
pub use round::Round;
pub use run::run;
pub use settings::Settings;
