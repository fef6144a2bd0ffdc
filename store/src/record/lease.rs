//! Leases.

use holdfast_migrations::v2;
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::sandbox::{NetnsRef, PodRef};
use holdfast_model::time::WallTime;

use super::{BadRecord, Record, freeze_place, freeze_sandbox, thaw_place, thaw_sandbox};

impl Record for Lease {
    type Frozen = v2::Lease;

    fn freeze(&self) -> v2::Lease {
        v2::Lease {
            sandbox: freeze_sandbox(&self.sandbox),
            pod_namespace: self.pod.namespace.clone(),
            pod_name: self.pod.name.clone(),
            pod_uid: self.pod.uid.clone(),
            netns_path: self.netns.path.clone(),
            netns_inode: self.netns.inode,
            faces: self.faces.iter().map(freeze_face).collect(),
            phase: match self.phase {
                LeasePhase::Pending => v2::LeasePhase::Pending,
                LeasePhase::Active => v2::LeasePhase::Active,
                LeasePhase::Releasing => v2::LeasePhase::Releasing,
            },
            created: self.created.0,
        }
    }

    fn thaw(frozen: v2::Lease) -> Result<Self, BadRecord> {
        if frozen.faces.is_empty() {
            return Err(BadRecord("a lease without an address".to_owned()));
        }
        Ok(Self {
            sandbox: thaw_sandbox(frozen.sandbox),
            pod: PodRef { namespace: frozen.pod_namespace, name: frozen.pod_name, uid: frozen.pod_uid },
            netns: NetnsRef { path: frozen.netns_path, inode: frozen.netns_inode },
            faces: frozen.faces.into_iter().map(thaw_face).collect(),
            phase: match frozen.phase {
                v2::LeasePhase::Pending => LeasePhase::Pending,
                v2::LeasePhase::Active => LeasePhase::Active,
                v2::LeasePhase::Releasing => LeasePhase::Releasing,
            },
            created: WallTime(frozen.created),
        })
    }
}

fn freeze_face(face: &Face) -> v2::Face {
    v2::Face {
        ifname: face.ifname.clone(),
        address: face.address,
        eni: face.eni.to_string(),
        place: freeze_place(&face.place),
        host_veth: face.host_veth.clone(),
        host_mac: face.host_mac.0,
        mtu: face.mtu,
    }
}

fn thaw_face(frozen: v2::Face) -> Face {
    Face {
        ifname: frozen.ifname,
        address: frozen.address,
        eni: EniId::new(frozen.eni),
        place: thaw_place(frozen.place),
        host_veth: frozen.host_veth,
        host_mac: MacAddr(frozen.host_mac),
        mtu: frozen.mtu,
    }
}
