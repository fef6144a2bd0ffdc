//! What a request is about: the ENIs, subnets and zones that a fault's scope can name.

use super::ids::{AttachmentId, EniId, SubnetId};
use super::model::World;
use super::request::Operation;
use crate::fault::Places;

impl World {
    /// The places of one ENI.
    pub(super) fn places_of(&self, eni: EniId) -> Places {
        let mut places = Places::default();
        self.add_eni(&mut places, eni);
        places
    }

    /// The places of a request. A Describe call is about what it names, also by a filter.
    pub(super) fn places(&self, operation: &Operation) -> Places {
        let mut places = Places::default();
        let p = &mut places;
        for value in operation.filters().iter().flat_map(|filter| &filter.values) {
            self.add_named(p, value);
        }
        match operation {
            Operation::DescribeNetworkInterfaces(op) => {
                op.network_interface_ids.iter().for_each(|eni| self.add_eni(p, *eni));
            }
            Operation::DescribeSubnets(op) => op.subnet_ids.iter().for_each(|id| self.add_subnet(p, *id)),
            Operation::DescribeInstances(op) => {
                p.named.extend(op.instance_ids.iter().map(ToString::to_string));
            }
            Operation::DescribeInstanceStatus(op) => {
                p.named.extend(op.instance_ids.iter().map(ToString::to_string));
            }
            Operation::DescribeSecurityGroups(op) => {
                p.named.extend(op.group_ids.iter().map(ToString::to_string));
            }
            Operation::DescribeVpcs(op) => p.named.extend(op.vpc_ids.iter().map(ToString::to_string)),
            Operation::DescribeInstanceTypes(_) | Operation::DescribeTags(_) => {}
            Operation::CreateNetworkInterface(op) => {
                self.add_subnet(p, op.subnet_id);
                p.named.extend(op.groups.iter().map(ToString::to_string));
            }
            Operation::AttachNetworkInterface(op) => {
                self.add_eni(p, op.network_interface_id);
                p.named.push(op.instance_id.to_string());
            }
            Operation::DetachNetworkInterface(op) => self.add_attachment(p, op.attachment_id),
            Operation::DeleteNetworkInterface(op) => self.add_eni(p, op.network_interface_id),
            Operation::ModifyNetworkInterfaceAttribute(op) => {
                self.add_eni(p, op.network_interface_id);
                p.named.extend(op.groups.iter().map(ToString::to_string));
            }
            Operation::AssignPrivateIpAddresses(op) => self.add_eni(p, op.network_interface_id),
            Operation::UnassignPrivateIpAddresses(op) => self.add_eni(p, op.network_interface_id),
            Operation::AssignIpv6Addresses(op) => self.add_eni(p, op.network_interface_id),
            Operation::UnassignIpv6Addresses(op) => self.add_eni(p, op.network_interface_id),
            Operation::CreateTags(op) => op.resources.iter().for_each(|id| self.add_named(p, id)),
            Operation::DeleteTags(op) => op.resources.iter().for_each(|id| self.add_named(p, id)),
        }
        places
    }

    fn add_named(&self, places: &mut Places, id: &str) {
        match id.split_once('-') {
            Some(("eni", rest)) if rest.starts_with("attach-") => {
                self.add_attachment(places, AttachmentId::new(id));
            }
            Some(("eni", _)) => self.add_eni(places, EniId::new(id)),
            Some(("subnet", _)) => self.add_subnet(places, SubnetId::new(id)),
            _ => places.named.push(id.to_owned()),
        }
    }

    fn add_attachment(&self, places: &mut Places, id: AttachmentId) {
        places.named.push(id.to_string());
        if let Some(eni) = self.eni_of_attachment(id) {
            self.add_eni(places, eni.id);
        }
    }

    fn add_eni(&self, places: &mut Places, id: EniId) {
        places.named.push(id.to_string());
        places.enis.push(id);
        if let Some(eni) = self.enis.get(&id) {
            self.add_subnet(places, eni.subnet);
        }
    }

    fn add_subnet(&self, places: &mut Places, id: SubnetId) {
        places.named.push(id.to_string());
        places.subnets.push(id);
        places.zones.extend(self.subnets.get(&id).map(|subnet| subnet.zone.clone()));
    }
}
