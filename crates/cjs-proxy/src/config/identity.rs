//! Who the process becomes once it is bound: `user` and `group`, looked up on this machine.

use nix::unistd::{Gid, Group, Uid, User};
use proxy_core::settings::Identity;

use super::assemble::Machine;
use super::report::Report;
use super::written::Written;

/// What Hipache 0.4 becomes where its file names nobody.
const HIPACHE_USER: &str = "www-data";

/// The identity to take; `None`: this process is not root, or is to stay it.
pub(super) fn identity(written: &Written, machine: Machine, report: &mut Report) -> Option<Identity> {
    if !machine.root {
        return None;
    }
    let default = written.hipache_04.then_some(HIPACHE_USER);
    let group = written.text_if_set("group");
    let Some(user) = written.text_if_set("user").or(default) else {
        if group.is_some() {
            report.fault(written.spelling("group"), "stands without user; name the user too");
        }
        report.warn("the process is root and stays root: name a user for it to become once it is bound");
        return None;
    };
    let Some(found) = find_user(user) else {
        report.fault(
            written.spelling("user"),
            &format!("{user:?}: this machine has no such user; create it, or name another"),
        );
        return None;
    };
    let group = match group {
        None => Group::from_name(user).ok().flatten().map_or(found.gid, |group| group.gid),
        Some(name) => match find_group(name) {
            Some(gid) => gid,
            None => {
                report.fault(
                    written.spelling("group"),
                    &format!("{name:?}: this machine has no such group; create it, or name another"),
                );
                return None;
            }
        },
    };
    let is_root = found.uid.is_root() && group.as_raw() == 0;
    (!is_root).then(|| Identity { name: found.name, user: found.uid.as_raw(), group: group.as_raw() })
}

fn find_user(named: &str) -> Option<User> {
    let by_number = || User::from_uid(Uid::from_raw(named.parse().ok()?)).ok().flatten();
    User::from_name(named).ok().flatten().or_else(by_number)
}

fn find_group(named: &str) -> Option<Gid> {
    let by_number = || Group::from_gid(Gid::from_raw(named.parse().ok()?)).ok().flatten();
    Group::from_name(named).ok().flatten().or_else(by_number).map(|group| group.gid)
}
