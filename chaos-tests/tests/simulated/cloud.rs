//! The simulated EC2 behind Holdfast's own ports, without HTTP in between.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_model::cloud::{
    AttachmentStatus, AttachmentView, CloudAnswer, CloudCall, CloudChange, CloudRead, EniView, TAG_INSTANCE,
};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, MacAddr, SecurityGroupId, SubnetId, VpcId};
use holdfast_model::node::NodeIdentity;
use holdfast_ports::{Cloud, CloudError, CloudFault, Metadata, MetadataError, MetadataHint};
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, AttachmentChange, CreateNetworkInterface, CreateTags,
    DeleteNetworkInterface, DescribeNetworkInterfaces, DetachNetworkInterface,
    ModifyNetworkInterfaceAttribute, TagSpecification, UnassignPrivateIpAddresses,
};
use holdfast_sim::vpc::response::{AttachmentStatus as SimStatus, NetworkInterface};
use holdfast_sim::vpc::{
    self as sim, Call, CallError, Caller, ErrorCode, Filter, ImdsInterface, Micros, Request, SimVpc,
};

use crate::clock::VirtualClock;
use crate::steps::Steps;

/// The box that all nodes share.
#[derive(Debug, Clone)]
pub(crate) struct SharedBox {
    vpc: Arc<Mutex<SimVpc>>,
}

impl SharedBox {
    /// Shares a box.
    pub(crate) fn new(vpc: SimVpc) -> Self {
        Self { vpc: Arc::new(Mutex::new(vpc)) }
    }

    /// Uses the box as it stands.
    pub(crate) fn now<T>(&self, work: impl FnOnce(&mut SimVpc) -> T) -> T {
        work(&mut self.vpc.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses the box at this instant of virtual time.
    pub(crate) fn at<T>(&self, elapsed: Duration, work: impl FnOnce(&mut SimVpc) -> T) -> T {
        let mut vpc = self.vpc.lock().unwrap_or_else(PoisonError::into_inner);
        vpc.advance_to(Micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)));
        work(&mut vpc)
    }
}

/// EC2 and IMDS of one instance, for one life of its daemon.
#[derive(Debug, Clone)]
pub(crate) struct SimCloud {
    /// The box.
    pub(crate) shared: SharedBox,
    /// The instance.
    pub(crate) instance: sim::InstanceId,
    /// Virtual time.
    pub(crate) clock: VirtualClock,
    /// Where the process may die.
    pub(crate) steps: Steps,
    /// Nothing gets through to EC2 and IMDS while this says so.
    pub(crate) cut_off: bool,
}

impl SimCloud {
    async fn call<C: Call>(&self, operation: C) -> Result<C::Output, CloudError> {
        let request = Request::from(operation);
        let action = request.action();
        if self.cut_off {
            return Err(unknown("connection refused"));
        }
        self.steps.pass(format!("before {action}"));
        let latency = self.shared.at(self.clock.elapsed(), |vpc| vpc.latency_of(&request));
        tokio::time::sleep(latency).await;
        let caller = Caller::instance(&self.instance);
        let reply = self.shared.at(self.clock.elapsed(), |vpc| vpc.serve(&caller, request));
        self.steps.pass(format!("after {action}"));
        tokio::time::sleep(reply.late_by).await;
        match reply.result {
            Ok(response) => Ok(C::output(response).expect("an operation is answered by its own response")),
            Err(CallError::Dropped) => Err(unknown("connection closed before an answer")),
            Err(CallError::Api(error)) => Err(CloudError {
                fault: fault_of(&error.code, &error.message),
                code: error.code.as_str().to_owned(),
                message: error.message,
            }),
        }
    }

    async fn read(&self, read: &CloudRead) -> Result<Vec<EniView>, CloudError> {
        let mut request = DescribeNetworkInterfaces::default();
        match read {
            CloudRead::InstanceEnis { instance } => {
                request.filters = vec![Filter::new("attachment.instance-id", instance.as_str())];
            }
            CloudRead::AvailableEnis { instance } => {
                request.filters = vec![
                    Filter::new(format!("tag:{TAG_INSTANCE}"), instance.as_str()),
                    Filter::new("status", "available"),
                ];
            }
            CloudRead::Enis { enis } => {
                request.filters = vec![Filter {
                    name: "network-interface-id".to_owned(),
                    values: enis.iter().map(ToString::to_string).collect(),
                }];
            }
        }
        Ok(self.call(request).await?.items.iter().map(view_of).collect())
    }
}

impl Cloud for SimCloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let (change, token) = match call {
            CloudCall::Read(read) => return self.read(read).await.map(CloudAnswer::Enis),
            CloudCall::Change { change, token } => (change, token),
        };
        let eni = |id: &EniId| sim::EniId::new(id.as_str());
        match change {
            CloudChange::CreateEni {
                subnet,
                security_groups,
                secondary_addresses,
                description,
                tags,
                ..
            } => {
                let created = self
                    .call(CreateNetworkInterface {
                        subnet_id: sim::SubnetId::new(subnet.as_str()),
                        groups: security_groups
                            .iter()
                            .map(|group| sim::SecurityGroupId::new(group.as_str()))
                            .collect(),
                        secondary_private_ip_address_count: (*secondary_addresses > 0)
                            .then_some(i64::from(*secondary_addresses)),
                        description: Some(description.clone()),
                        tag_specifications: vec![TagSpecification {
                            resource_type: "network-interface".to_owned(),
                            tags: tags.clone(),
                        }],
                        client_token: Some(token.as_str().to_owned()),
                        ..CreateNetworkInterface::default()
                    })
                    .await?;
                Ok(CloudAnswer::Created(view_of(&created.network_interface)))
            }
            CloudChange::AttachEni { eni: id, instance, slot } => {
                let attached = self
                    .call(AttachNetworkInterface {
                        network_interface_id: eni(id),
                        instance_id: sim::InstanceId::new(instance.as_str()),
                        device_index: slot.device.into(),
                        network_card_index: Some(slot.card.into()),
                    })
                    .await?;
                Ok(CloudAnswer::Attached(AttachmentId::new(attached.attachment_id.as_str())))
            }
            CloudChange::SetDeleteOnTermination { eni: id, attachment } => {
                self.call(ModifyNetworkInterfaceAttribute {
                    network_interface_id: eni(id),
                    attachment: Some(AttachmentChange {
                        attachment_id: Some(sim::AttachmentId::new(attachment.as_str())),
                        delete_on_termination: Some(true),
                    }),
                    ..ModifyNetworkInterfaceAttribute::default()
                })
                .await?;
                Ok(CloudAnswer::Done)
            }
            CloudChange::AssignAddresses { eni: id, count } => {
                let assigned = self
                    .call(AssignPrivateIpAddresses {
                        network_interface_id: eni(id),
                        secondary_private_ip_address_count: Some((*count).into()),
                        ..AssignPrivateIpAddresses::default()
                    })
                    .await?;
                Ok(CloudAnswer::Assigned(assigned.addresses.into_iter().map(IpAddr::V4).collect()))
            }
            CloudChange::UnassignAddresses { eni: id, addresses } => {
                self.call(UnassignPrivateIpAddresses {
                    network_interface_id: eni(id),
                    private_ip_addresses: addresses
                        .iter()
                        .filter_map(|ip| match ip {
                            IpAddr::V4(ip) => Some(*ip),
                            IpAddr::V6(_) => None,
                        })
                        .collect(),
                    ..UnassignPrivateIpAddresses::default()
                })
                .await?;
                Ok(CloudAnswer::Done)
            }
            CloudChange::DetachEni { attachment, .. } => {
                self.call(DetachNetworkInterface {
                    attachment_id: sim::AttachmentId::new(attachment.as_str()),
                    force: false,
                })
                .await?;
                Ok(CloudAnswer::Done)
            }
            CloudChange::DeleteEni { eni: id } => {
                self.call(DeleteNetworkInterface { network_interface_id: eni(id) }).await?;
                Ok(CloudAnswer::Done)
            }
            CloudChange::TagEni { eni: id, tags } => {
                self.call(CreateTags { resources: vec![id.to_string()], tags: tags.clone() }).await?;
                Ok(CloudAnswer::Done)
            }
        }
    }
}

impl Metadata for SimCloud {
    async fn identity(&self) -> Result<NodeIdentity, MetadataError> {
        let view = self.imds()?;
        let primary = view
            .interfaces
            .iter()
            .find(|interface| interface.mac == view.mac)
            .ok_or_else(|| refused("network/interfaces/macs", "the primary is not shown"))?;
        let missing = |path: &str| refused(path, "not shown");
        Ok(NodeIdentity {
            instance: InstanceId::new(view.instance_id.as_str()),
            instance_type: view.instance_type.clone(),
            region: view.region.clone(),
            zone: view.availability_zone.clone(),
            vpc: VpcId::new(primary.vpc_id.as_str()),
            vpc_cidrs: primary.vpc_ipv4_cidr_blocks.clone(),
            primary_mac: MacAddr(view.mac.0),
            primary_ipv4: view.local_ipv4.ok_or_else(|| missing("local-ipv4"))?,
            subnet: SubnetId::new(primary.subnet_id.as_str()),
            subnet_cidr: primary.subnet_ipv4_cidr_block.ok_or_else(|| missing("subnet-ipv4-cidr-block"))?,
            security_groups: primary
                .security_group_ids
                .iter()
                .map(|group| SecurityGroupId::new(group.as_str()))
                .collect(),
        })
    }

    async fn hint(&self) -> Result<MetadataHint, MetadataError> {
        let view = self.imds()?;
        let vpc_cidrs = |interface: &ImdsInterface| interface.vpc_ipv4_cidr_blocks.clone();
        Ok(MetadataHint {
            enis: view
                .interfaces
                .iter()
                .map(|interface| {
                    let addresses = interface.local_ipv4s.iter().copied().map(IpAddr::V4).collect();
                    (MacAddr(interface.mac.0), addresses)
                })
                .collect(),
            subnet_cidrs: view
                .interfaces
                .iter()
                .filter_map(|interface| Some((MacAddr(interface.mac.0), interface.subnet_ipv4_cidr_block?)))
                .collect(),
            vpc_cidrs: view
                .interfaces
                .iter()
                .find(|interface| interface.mac == view.mac)
                .map(vpc_cidrs)
                .unwrap_or_default(),
        })
    }
}

impl SimCloud {
    fn imds(&self) -> Result<sim::ImdsView, MetadataError> {
        if self.cut_off {
            return Err(refused("instance-id", "connection refused"));
        }
        self.shared
            .at(self.clock.elapsed(), |vpc| vpc.imds_view(&self.instance))
            .ok_or_else(|| refused("instance-id", "no such instance"))
    }
}

fn refused(path: &str, cause: &str) -> MetadataError {
    MetadataError { path: path.to_owned(), cause: cause.to_owned() }
}

fn unknown(message: &str) -> CloudError {
    CloudError { fault: CloudFault::Unknown, code: "NoAnswer".to_owned(), message: message.to_owned() }
}

/// As the real adapter classifies them; it has a table and tests of its own.
fn fault_of(code: &ErrorCode, message: &str) -> CloudFault {
    match code.as_str() {
        "RequestLimitExceeded" => CloudFault::Throttled { retry_after: None },
        "InsufficientFreeAddressesInSubnet" | "InsufficientCidrBlocks" => CloudFault::SubnetFull,
        "PrivateIpAddressLimitExceeded" => CloudFault::AddressLimit,
        "AttachmentLimitExceeded" => CloudFault::AttachmentLimit,
        "InvalidNetworkInterfaceID.NotFound" | "InvalidAttachmentID.NotFound" => CloudFault::NotFound,
        "InvalidNetworkInterface.InUse" | "IncorrectState" => CloudFault::Conflict,
        "InvalidParameterValue" if message.contains("currently in use") => CloudFault::Conflict,
        "InvalidParameterValue" if message.contains("device index") => CloudFault::AttachmentLimit,
        "InvalidParameterValue" if message.contains("not assigned") => CloudFault::Conflict,
        "IdempotentParameterMismatch" => CloudFault::TokenMismatch,
        "UnauthorizedOperation" => CloudFault::Denied,
        "InternalError" => CloudFault::Unknown,
        _ => CloudFault::Rejected,
    }
}

/// Holdfast's view of what EC2 shows.
pub(crate) fn view_of(eni: &NetworkInterface) -> EniView {
    EniView {
        id: EniId::new(eni.network_interface_id.as_str()),
        mac: MacAddr(eni.mac_address.0),
        kind: match eni.interface_type.as_str() {
            "trunk" => EniKind::Trunk,
            "efa" => EniKind::Efa,
            "efa-only" => EniKind::EfaOnly,
            _ => EniKind::Standard,
        },
        subnet: SubnetId::new(eni.subnet_id.as_str()),
        primary_ipv4: eni.primary_ip(),
        secondary: eni.secondary_ips().map(IpAddr::V4).collect(),
        prefixes: eni.ipv4_prefixes.iter().map(ToString::to_string).collect(),
        tags: eni.tags.clone().into_iter().collect::<BTreeMap<_, _>>(),
        attachment: eni.attachment.as_ref().map(|attachment| AttachmentView {
            id: AttachmentId::new(attachment.attachment_id.as_str()),
            instance: InstanceId::new(attachment.instance_id.as_str()),
            slot: EniSlot {
                card: attachment.network_card_index as u8,
                device: attachment.device_index as u16,
            },
            delete_on_termination: attachment.delete_on_termination,
            status: match attachment.status {
                SimStatus::Attaching => AttachmentStatus::Attaching,
                SimStatus::Attached => AttachmentStatus::Attached,
                SimStatus::Detaching => AttachmentStatus::Detaching,
            },
        }),
    }
}
