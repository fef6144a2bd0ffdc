//! Who may ask for pods' networks to be changed: whoever may change networks on this host anyway.
//!
//! The user id alone says little: a container's root has the superuser's id and may have none of its rights, and with the
//! socket's directory mounted it could give any pod's address away. So a client's rights are looked at, and in which user
//! namespace it has them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use holdfast_wire::peer::Peer;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

use crate::rights::Rights;

/// Why a client is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    /// It is neither the superuser nor of the daemon's own user.
    #[error("it runs as another user")]
    User,
    /// It may not change networks.
    #[error("it lacks CAP_NET_ADMIN")]
    Rights,
    /// What it may, it may elsewhere.
    #[error("it is in another user namespace")]
    Namespace,
}

/// What `/proc` tells of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    net_admin: bool,
    same_users: bool,
}

/// Whether this client may command. Of one outside this process's PID namespace nothing but its user can be seen: a daemon
/// without the host's PIDs trusts that.
pub(super) fn may_command(stream: &impl AsFd, peer: Peer) -> io::Result<Result<(), Stranger>> {
    let process = if peer.pid == 0 { None } else { Some(look(stream, peer.pid)?) };
    Ok(judge(peer, nix::unistd::geteuid().as_raw(), process))
}

fn judge(peer: Peer, daemon: u32, process: Option<Process>) -> Result<(), Stranger> {
    if !peer.may_command(daemon) {
        return Err(Stranger::User);
    }
    match process {
        Some(Process { net_admin: false, .. }) => Err(Stranger::Rights),
        Some(Process { same_users: false, .. }) => Err(Stranger::Namespace),
        _ => Ok(()),
    }
}

fn look(stream: &impl AsFd, pid: i32) -> io::Result<Process> {
    // Kernels before 6.5 have none to give.
    let handle = getsockopt(&stream.as_fd(), sockopt::PeerPidfd).ok();
    let of = |name: &str| PathBuf::from(format!("/proc/{pid}")).join(name);
    let status = std::fs::read_to_string(of("status"))?;
    let rights = Rights::read(&status).ok_or_else(|| io::Error::other("its capabilities cannot be read"))?;
    let process = Process { net_admin: rights.net_admin, same_users: same_users(pid)? };
    // Its number may have been given to another by now.
    if handle.is_some_and(|handle| is_over(&handle)) {
        return Err(io::Error::other("it has ended"));
    }
    Ok(process)
}

/// The namespace itself may be looked at only by who has the client's rights, which a daemon with few has not. Then by
/// what its ids are mapped to, which none but a right-holder can make the same.
fn same_users(pid: i32) -> io::Result<bool> {
    let namespace = |pid: &str| nix::sys::stat::stat(format!("/proc/{pid}/ns/user").as_str());
    if let (Ok(its), Ok(own)) = (namespace(&pid.to_string()), namespace("self")) {
        return Ok((its.st_dev, its.st_ino) == (own.st_dev, own.st_ino));
    }
    let map = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/uid_map"));
    Ok(map(&pid.to_string())? == map("self")?)
}

fn is_over(handle: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_has_the_rights_here_may_command_and_nobody_else() {
        let root = Peer { pid: 7, uid: 0, gid: 0 };
        let process = |net_admin, same_users| Some(Process { net_admin, same_users });
        assert_eq!(judge(root, 0, process(true, true)), Ok(()));
        assert_eq!(judge(root, 0, process(false, true)), Err(Stranger::Rights), "a container's root");
        assert_eq!(judge(root, 0, process(true, false)), Err(Stranger::Namespace), "root of its own making");
        assert_eq!(judge(root, 0, None), Ok(()), "it cannot be looked at");
        let other = Peer { uid: 1000, ..root };
        assert_eq!(judge(other, 0, process(true, true)), Err(Stranger::User));
        assert_eq!(judge(other, 1000, process(true, true)), Ok(()));
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let (near, _far) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let net_admin = Rights::read(&own).unwrap().net_admin;
        assert_eq!(look(&near, pid).unwrap(), Process { net_admin, same_users: true });
    }
}
