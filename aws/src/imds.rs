//! The instance metadata service, version 2 only.
//!
//! Each value is a request of its own; a read is complete or an error that names the path. What may be absent (404)
//! is decided per path, from what IMDS does in life: `local-ipv4s` is missing on an ENI without IPv4,
//! `subnet-ipv4-cidr-block` on one in an IPv6-only subnet; all else must be there.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::imds::client::error::ImdsError;
use aws_config::imds::{self, Client};
use aws_config::provider_config::ProviderConfig;
use holdfast_model::cloud::{AttachmentStatus, AttachmentView, EniView, TAG_INSTANCE};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, MacAddr, SecurityGroupId, SubnetId, VpcId};
use holdfast_model::node::NodeIdentity;
use holdfast_model::pool::Family;
use holdfast_ports::metadata::{HintAsked, Metadata, MetadataError, MetadataHint};
use ipnet::{IpNet, Ipv4Net};

use crate::http::LazyHttp;
use crate::surroundings::Surroundings;
use holdfast_model::chain;

/// Where the service answers on every instance.
const ENDPOINT: &str = "http://169.254.169.254";
/// Where the tree begins.
const ROOT: &str = "/latest/meta-data/";
const MACS: &str = "network/interfaces/macs";

/// How the metadata service is to be read.
#[derive(Clone, Debug)]
pub struct ImdsSettings {
    /// How long one [`Metadata`] call may take, all its requests together.
    pub deadline: Duration,
    /// How long one connection, and one answer, may take. The service is on the same host.
    pub request_timeout: Duration,
    /// Where it answers, as in `http://169.254.169.254`. `None`: what the environment says, else that address.
    pub endpoint: Option<String>,
    /// The world that it is read in, when it is not this machine's.
    pub surroundings: Option<Surroundings>,
}

impl Default for ImdsSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            request_timeout: Duration::from_secs(1),
            endpoint: None,
            surroundings: None,
        }
    }
}

/// IMDS through the AWS SDK's client, which keeps the session token.
///
/// Requests are tried once: the caller comes back by itself. The one exception is a token that the service no longer
/// knows (it restarted, or the instance was resumed): the SDK keeps a token for its six hours whatever is said to it,
/// so a new client, and with it a new token, is made and the request repeated.
#[derive(Debug)]
pub struct Imds {
    client: RwLock<Client>,
    builder: imds::client::Builder,
    deadline: Duration,
}

impl Imds {
    /// Prepares the client; no request is made. Fails if the endpoint is not an address.
    pub fn new(settings: ImdsSettings) -> Result<Self, MetadataError> {
        let provider =
            ProviderConfig::without_region().with_behavior_version(Some(BehaviorVersion::v2026_01_12()));
        let (provider, usual) = match settings.surroundings {
            None => (provider.with_http_client(LazyHttp::default()), None),
            // Not what the environment says there.
            Some(other) => {
                (provider.with_http_client(other.clone()).with_time_source(other), Some(ENDPOINT.to_owned()))
            }
        };
        let mut builder = Client::builder()
            .configure(&provider)
            .max_attempts(1)
            .connect_timeout(settings.request_timeout)
            .read_timeout(settings.request_timeout);
        if let Some(endpoint) = &settings.endpoint.or(usual) {
            builder = builder.endpoint(endpoint).map_err(|bad| failed(endpoint, bad))?;
        }
        Ok(Self { client: RwLock::new(builder.clone().build()), builder, deadline: settings.deadline })
    }

    /// The text at a path below the root; `None` if it does not exist.
    async fn optional(&self, path: &str) -> Result<Option<String>, MetadataError> {
        let whole = format!("{ROOT}{path}");
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut answer = client.get(&*whole).await;
        if status(&answer) == Some(401) {
            let fresh = self.builder.clone().build();
            self.client.write().unwrap_or_else(PoisonError::into_inner).clone_from(&fresh);
            answer = fresh.get(&*whole).await;
        }
        match (status(&answer), answer) {
            (_, Ok(text)) => Ok(Some(String::from(text))),
            (Some(404), Err(_)) => Ok(None),
            (Some(status), Err(_)) => Err(failed(path, format!("HTTP status {status}"))),
            (None, Err(error)) => Err(failed(path, chain(&error))),
        }
    }

    async fn text(&self, path: &str) -> Result<String, MetadataError> {
        let text = self.optional(path).await?.ok_or_else(|| failed(path, "not there (404)"))?;
        Ok(text.trim().to_owned())
    }

    async fn value<T: FromStr<Err: Error>>(&self, path: &str) -> Result<T, MetadataError> {
        parse(path, &self.text(path).await?)
    }

    async fn values<T: FromStr<Err: Error>>(&self, path: &str) -> Result<Vec<T>, MetadataError> {
        lines(&self.text(path).await?).map(|line| parse(path, line)).collect()
    }

    async fn groups_of(&self, mac: &MacAddr) -> Result<Option<BTreeSet<SecurityGroupId>>, MetadataError> {
        let text = self.optional(&format!("{MACS}/{mac}/security-group-ids")).await?;
        Ok(text.map(|text| groups(&text).collect()))
    }

    async fn read_identity(&self) -> Result<NodeIdentity, MetadataError> {
        let primary_mac: MacAddr = self.value("mac").await?;
        let of_primary = |name: &str| format!("{MACS}/{primary_mac}/{name}");
        Ok(NodeIdentity {
            instance: InstanceId::new(self.text("instance-id").await?),
            instance_type: self.text("instance-type").await?,
            region: self.text("placement/region").await?,
            zone: self.text("placement/availability-zone").await?,
            vpc: VpcId::new(self.text(&of_primary("vpc-id")).await?),
            vpc_cidrs: self.values(&of_primary("vpc-ipv4-cidr-blocks")).await?,
            primary_mac,
            primary_ipv4: self.value("local-ipv4").await?,
            subnet: SubnetId::new(self.text(&of_primary("subnet-id")).await?),
            subnet_cidr: self.value(&of_primary("subnet-ipv4-cidr-block")).await?,
            security_groups: groups(&self.text(&of_primary("security-group-ids")).await?).collect(),
        })
    }

    async fn read_enis(&self, instance: &InstanceId) -> Result<Vec<EniView>, MetadataError> {
        let primary: MacAddr = self.value("mac").await?;
        let macs: BTreeSet<MacAddr> = lines(&self.text(MACS).await?)
            .map(|line| parse(MACS, line.trim_end_matches('/')))
            .collect::<Result<_, _>>()?;
        // As with the hint: a list without the first ENI is a partial one.
        if !macs.contains(&primary) {
            return Err(failed(MACS, format!("the primary ENI {primary} is not listed")));
        }
        let mut enis = Vec::new();
        for mac in macs {
            enis.extend(self.eni_of(mac, mac == primary, instance).await?);
        }
        Ok(enis)
    }

    /// `None`: one that comes, or goes, at this very moment.
    async fn eni_of(
        &self,
        mac: MacAddr,
        is_primary: bool,
        instance: &InstanceId,
    ) -> Result<Option<EniView>, MetadataError> {
        let path = |name: &str| format!("{MACS}/{mac}/{name}");
        let Some(id) = self.optional(&path("interface-id")).await? else { return Ok(None) };
        let device: u16 = self.value(&path("device-number")).await?;
        let card_path = path("network-card");
        let card = self.optional(&card_path).await?.map(|text| parse(&card_path, text.trim())).transpose()?;
        let addresses = path("local-ipv4s");
        let listed = self.optional(&addresses).await?.unwrap_or_default();
        let mut listed = lines(&listed).map(|line| parse::<Ipv4Addr>(&addresses, line));
        // The first is the ENI's own. One without any carries no pods: an EFA without an IP network, or one of IPv6 only.
        let primary_ipv4 = listed.next().transpose()?;
        let kind = if primary_ipv4.is_some() { EniKind::Standard } else { EniKind::EfaOnly };
        Ok(Some(EniView {
            id: EniId::new(id.trim()),
            mac,
            kind,
            subnet: SubnetId::new(self.text(&path("subnet-id")).await?),
            security_groups: self.groups_of(&mac).await?.unwrap_or_default(),
            primary_ipv4,
            secondary: listed.map(|ip| ip.map(IpAddr::V4)).collect::<Result<_, _>>()?,
            prefixes: {
                let mut prefixes = self.prefixes_of(&mac, Family::V4).await?;
                prefixes.extend(self.prefixes_of(&mac, Family::V6).await?);
                prefixes.into_iter().collect()
            },
            tags: [(TAG_INSTANCE.to_owned(), instance.to_string())].into(),
            attachment: Some(AttachmentView {
                // Not told, and of no use to whoever changes nothing in EC2.
                id: AttachmentId::new("unknown"),
                instance: instance.clone(),
                // It was seen to show another number for the first one.
                slot: EniSlot { card: card.unwrap_or(0), device: if is_primary { 0 } else { device } },
                delete_on_termination: true,
                status: AttachmentStatus::Attached,
            }),
        }))
    }

    async fn read_hint(&self, asked: &HintAsked) -> Result<MetadataHint, MetadataError> {
        let primary: MacAddr = match asked.primary {
            Some(known) => known,
            None => self.value("mac").await?,
        };
        let macs: BTreeSet<MacAddr> = lines(&self.text(MACS).await?)
            .map(|line| parse(MACS, line.trim_end_matches('/')))
            .collect::<Result<_, _>>()?;
        // The first ENI is attached for as long as the instance lives: a list without it is a partial one.
        if !macs.contains(&primary) {
            return Err(failed(MACS, format!("the primary ENI {primary} is not listed")));
        }
        let mut hint = MetadataHint::default();
        if !asked.vpc_known {
            hint.vpc_cidrs = self.values(&format!("{MACS}/{primary}/vpc-ipv4-cidr-blocks")).await?;
        }
        for mac in macs {
            hint.enis.insert(mac, self.addresses_of(&mac).await?);
            for family in &asked.prefixes {
                hint.prefixes.insert((mac, *family), self.prefixes_of(&mac, *family).await?);
            }
            // One that goes, or comes, at this very moment shows none.
            hint.security_groups.extend(self.groups_of(&mac).await?.map(|groups| (mac, groups)));
            let path = format!("{MACS}/{mac}/subnet-ipv4-cidr-block");
            if !asked.ranges_known.contains(&mac)
                && let Some(text) = self.optional(&path).await?
            {
                hint.subnet_cidrs.insert(mac, parse::<Ipv4Net>(&path, text.trim())?);
            }
        }
        Ok(hint)
    }

    /// An ENI's IPv4 addresses. Its listing tells one that has none from one that went away between two requests.
    async fn addresses_of(&self, mac: &MacAddr) -> Result<BTreeSet<IpAddr>, MetadataError> {
        let path = format!("{MACS}/{mac}/local-ipv4s");
        match self.optional(&path).await? {
            Some(text) => lines(&text).map(|line| parse(&path, line)).collect(),
            None => self.text(&format!("{MACS}/{mac}")).await.map(|_listing| BTreeSet::new()),
        }
    }

    /// An ENI's delegated prefixes of a family; the path is not there where it has none.
    async fn prefixes_of(&self, mac: &MacAddr, family: Family) -> Result<BTreeSet<IpNet>, MetadataError> {
        let leaf = match family {
            Family::V4 => "ipv4-prefix",
            Family::V6 => "ipv6-prefix",
        };
        let path = format!("{MACS}/{mac}/{leaf}");
        let text = self.optional(&path).await?.unwrap_or_default();
        lines(&text).map(|line| parse(&path, line)).collect()
    }

    /// Runs one call within its deadline.
    async fn timed<T>(
        &self,
        path: &str,
        work: impl Future<Output = Result<T, MetadataError>>,
    ) -> Result<T, MetadataError> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(result) => result,
            Err(_elapsed) => Err(failed(path, format!("no complete answer within {:?}", self.deadline))),
        }
    }
}

fn groups(text: &str) -> impl Iterator<Item = SecurityGroupId> + '_ {
    lines(text).map(SecurityGroupId::new)
}

impl Metadata for Imds {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        self.timed("identity", self.read_identity()).await
    }

    async fn enis(&self, instance: &InstanceId) -> Result<Vec<EniView>, MetadataError> {
        self.timed(MACS, self.read_enis(instance)).await
    }

    async fn hint(&self, asked: HintAsked) -> Result<MetadataHint, MetadataError> {
        self.timed(MACS, self.read_hint(&asked)).await
    }
}

/// The status of an answer that was not a success.
fn status<T>(answer: &Result<T, ImdsError>) -> Option<u16> {
    match answer {
        Err(ImdsError::ErrorResponse(refused)) => Some(refused.response().status().as_u16()),
        _ => None,
    }
}

fn failed(path: impl Into<String>, cause: impl Display) -> MetadataError {
    MetadataError { path: path.into(), cause: cause.to_string() }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn parse<T: FromStr<Err: Error>>(path: &str, text: &str) -> Result<T, MetadataError> {
    text.parse().map_err(|bad: T::Err| failed(path, format!("{text:?}: {bad}")))
}
