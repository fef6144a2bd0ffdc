//! Alone in its process, since it lowers the process's limit of descriptors.

use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use holdfast_wire::fd;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// A process at its limit gets some of the descriptors of a message and MSG_CTRUNC: those few must not stay open
/// for ever, as nobody knows their numbers.
#[test]
fn descriptors_of_a_cut_message_are_surplus_and_the_loss_is_told() {
    let (near, far) = UnixStream::pair().unwrap();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let raw = [writer.as_raw_fd(); 10];
    let rights = [ControlMessage::ScmRights(&raw)];
    sendmsg::<()>(near.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).unwrap();
    drop(writer);

    // The kernel hands out the lowest free number: room for three more at most.
    let lowest_free = u64::try_from(nix::unistd::dup(&reader).unwrap().as_raw_fd()).unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, lowest_free + 3, hard).unwrap();
    let got = fd::receive(&far, &mut [0; 8]).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    assert!(got.lost && got.descriptors.is_none() && !got.surplus.is_empty(), "{got:?}");
    drop(got);
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0), "a copy of the descriptor is still open");
}
