//! Names of the errors that a connect can end with, by the numbers of Linux.

use compact_str::{CompactString, format_compact};

/// From include/uapi/asm-generic of Linux: the same on all machines that podtap runs on.
const NAMES: [(i32, &str); 29] = [
    (1, "EPERM"),
    (4, "EINTR"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (22, "EINVAL"),
    (71, "EPROTO"),
    (91, "EPROTOTYPE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (102, "ENETRESET"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
];

/// The name of an error, else its number.
pub(super) fn name(error: i32) -> CompactString {
    let known = NAMES.iter().find(|(number, _)| *number == error);
    known.map_or_else(|| format_compact!("{error}"), |(_, name)| CompactString::const_new(name))
}
