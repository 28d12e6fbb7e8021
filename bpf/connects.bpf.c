/* Which process asks for a connection to where, and what comes of it: one entry in a ring for each.
 *
 * Compile with scripts/bpf; the object next to this file is committed, and src/connects/entry.rs reads its entries. Three
 * programs:
 *
 *   connect_begin  A socket goes from CLOSE to SYN_SENT, on the thread that asks: who that is, is noted by the socket.
 *   connect_end    It leaves SYN_SENT, on whatever thread: what came of it, and the entry.
 *   connect_exit   connect() returns: what never had a state, because there is no way or no port, and UDP.
 *
 * The first two hang on one tracepoint and are two, so that a softirq which answers one connect while another begins finds its
 * program not running: the kernel would leave it out then. */

#include "kernel.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set before the program is loaded. */
const volatile u32 only_netns = 0;  /* inode of the network namespace; 0: all of them */
const volatile u32 want_udp = 0;
const volatile u32 own_pid = 0;     /* the watcher itself, in its own namespace of processes */
const volatile u32 own_pidns = 0;
const volatile u32 has_exit = 0;    /* connect_exit is attached */

#define TEXT 1024
#define ARGS 1024
#define TCP 6
#define UDP 17
#define V4 2
#define V6 10
#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_SYN_RECV 3
#define STATE_CLOSE 7
#define EADDRNOTAVAIL 99
#define EALREADY 114
#define EISCONN 106
#define EINPROGRESS 115
#define MOST_ERRNO 133

enum outcome { ESTABLISHED, FAILED, CLOSED };
/* Each writes its entry in another place: one may come in the middle of the other where the kernel can be preempted. */
enum writer { BEGIN, EXIT };
enum flags { PATH_CUT = 1, ARGS_CUT = 2 };

/* Little-endian, without holes; src/connects/entry.rs knows the same. */
struct entry {
    u64 start, end;     /* CLOCK_MONOTONIC; end 0: not known */
    u64 born;           /* the process, CLOCK_BOOTTIME */
    u8 saddr[16], daddr[16]; /* IPv4 in the first four */
    u32 cpu, netns, pid, tid, ppid, vpid, uid, mntns;
    s32 error;
    u16 sport, dport;
    u8 version, protocol, outcome, flags;
    u16 text_len, args_len;
    u8 paths, groups, groups_v1; /* how many names of each are in the text */
    u8 stage;           /* 1: closed inside connect(), which knows the error */
    u32 nonblocking;    /* connect() has returned before it was known */
    char text[TEXT + ARGS]; /* name, host name, groups, groups_v1, paths (innermost first), each with a NUL; arguments */
};

/* Raised at once: a softirq that ends one connect may come in the middle of another program. */
#define COUNT(counter) __sync_fetch_and_add(&(counter), 1)

struct counts {
    u64 sent;           /* found room in the ring */
    u64 dropped;        /* found none */
    u64 untracked;      /* connects that began, with no room to note who began them */
    u64 unended;        /* that began and whose end was missed */
    u64 own;            /* of the watcher itself */
};

struct {
    NUMBER(type, MAP_RING);
    NUMBER(max_entries, 1 << 20);
} ring SEC(".maps");

struct {
    NUMBER(type, MAP_HASH);
    NUMBER(max_entries, 4096);
    NUMBER(map_flags, NO_PREALLOC);
    TYPE(key, u64);     /* address of the socket */
    TYPE(value, struct entry);
} pending SEC(".maps");

struct {
    NUMBER(type, MAP_LRU_HASH);
    NUMBER(max_entries, 16384);
    TYPE(key, u32);     /* thread */
    TYPE(value, u64);   /* inode of the socket that it connects now: connect_begin has seen it */
} connecting SEC(".maps");

struct {
    NUMBER(type, MAP_LRU_HASH);
    NUMBER(max_entries, 16384);
    TYPE(key, u64);     /* inode of a socket that failed after connect() had returned */
    TYPE(value, s32);   /* its error: a further connect() only says it again */
} failed SEC(".maps");

struct {
    NUMBER(type, MAP_PER_CPU_ARRAY);
    NUMBER(max_entries, 2);
    TYPE(key, u32);     /* enum writer */
    TYPE(value, struct entry);
} scratch SEC(".maps");

struct {
    NUMBER(type, MAP_PER_CPU_ARRAY);
    NUMBER(max_entries, 1);
    TYPE(key, u32);
    TYPE(value, struct counts);
} counters SEC(".maps");

INLINE struct counts *count(void)
{
    u32 zero = 0;
    return bpf_map_lookup_elem(&counters, &zero);
}

INLINE u16 swapped(u16 port)
{
    return __builtin_bswap16(port);
}

/* ::ffff:a.b.c.d is IPv4 on the wire. */
INLINE bool is_mapped(const u8 *ip)
{
    const u64 *words = (const u64 *)ip;
    const u32 *halves = (const u32 *)ip;
    return words[0] == 0 && halves[2] == 0xffff0000;
}

/* ---- what a socket says ------------------------------------------------------------------------------------------- */

INLINE u32 netns_of(struct sock *sk)
{
    struct net *net = 0;
    u32 inode = 0;
    READ(net, sk, __sk_common.skc_net.net);
    READ(inode, net, ns.inum);
    return inode;
}

/* 0 where it has none: a socket of the kernel. */
INLINE u64 inode_of(struct sock *sk)
{
    struct socket *socket = 0;
    struct file *file = 0;
    struct inode *inode = 0;
    unsigned long number = 0;
    READ(socket, sk, sk_socket);
    if (!socket) return 0;
    READ(file, socket, file);
    if (!file) return 0;
    READ(inode, file, f_inode);
    READ(number, inode, i_ino);
    return number;
}

INLINE void source_of(struct entry *e, struct sock *sk)
{
    u16 port = 0;
    READ(port, (struct inet_sock *)sk, inet_sport);
    e->sport = swapped(port);
    if (e->version == 6) READ(e->saddr, sk, __sk_common.skc_v6_rcv_saddr);
    else bpf_probe_read_kernel(e->saddr, 4, __builtin_preserve_access_index(&sk->__sk_common.skc_rcv_saddr));
}

INLINE void destination_of(struct entry *e, struct sock *sk)
{
    u16 family = 0, port = 0;
    READ(family, sk, __sk_common.skc_family);
    READ(port, sk, __sk_common.skc_dport);
    e->dport = swapped(port);
    e->version = 4;
    if (family == V6) {
        READ(e->daddr, sk, __sk_common.skc_v6_daddr);
        if (!is_mapped(e->daddr)) e->version = 6;
    }
    if (e->version == 4) bpf_probe_read_kernel(e->daddr, 4, __builtin_preserve_access_index(&sk->__sk_common.skc_daddr));
}

/* ---- what a process says ------------------------------------------------------------------------------------------ */

/* Appends a string of the kernel behind the text so far. */
INLINE bool append(struct entry *e, const char *string, u32 most)
{
    u64 at = e->text_len;
    ONE_REGISTER(at);
    if (at > TEXT - most) return 0;
    long n = bpf_probe_read_kernel_str(&e->text[at], most, string);
    if (n <= 0) return 0;
    e->text_len = at + n;
    return 1;
}

INLINE void groups_of(struct entry *e, struct cgroup *group, u8 *how_many)
{
    struct kernfs_node *node = 0;
    READ(node, group, kn);
    for (int i = 0; i < 5 && node; i++) {
        const char *name = 0;
        struct kernfs_node *parent = 0;
        READ(name, node, name);
        if (FIELD_EXISTS(struct kernfs_node___new, __parent)) READ(parent, (struct kernfs_node___new *)node, __parent);
        else READ(parent, node, parent);
        if (!parent || !append(e, name, 128)) return;
        *how_many += 1;
        node = parent;
    }
}

/* Its control group in the unified hierarchy, and that of memory where it is in an old one. */
INLINE void containers_of(struct entry *e, struct task_struct *task)
{
    struct css_set *set = 0;
    struct cgroup *unified = 0, *memory = 0;
    READ(set, task, cgroups);
    READ(unified, set, dfl_cgrp);
    groups_of(e, unified, &e->groups);
    if (!ENUM_EXISTS(cgroup_subsys_id, memory_cgrp_id)) return;
    struct cgroup_subsys_state *state = 0, **states = __builtin_preserve_access_index(&set->subsys[0]);
    void *root = 0, *unified_root = 0;
    bpf_probe_read_kernel(&state, sizeof state, states + ENUM_VALUE(cgroup_subsys_id, memory_cgrp_id));
    READ(memory, state, cgroup);
    READ(root, memory, root);
    READ(unified_root, unified, root);
    if (root != unified_root) groups_of(e, memory, &e->groups_v1);
}

/* The names on the way from a file to the root of its process. */
INLINE void path_of(struct entry *e, struct file *file, struct task_struct *task)
{
    struct fs_struct *fs = 0;
    struct dentry *at = 0, *root = 0;
    struct vfsmount *mount = 0, *root_mount = 0;
    READ(fs, task, fs);
    READ(root, fs, root.dentry);
    READ(root_mount, fs, root.mnt);
    READ(at, file, f_path.dentry);
    READ(mount, file, f_path.mnt);
    for (int i = 0; i < 24; i++) {
        struct dentry *parent = 0, *top = 0;
        if (at == root && mount == root_mount) return;
        READ(top, mount, mnt_root);
        if (at == top) {
            struct mount *whole = (void *)mount - FIELD_OFFSET(struct mount, mnt), *above = 0;
            READ(above, whole, mnt_parent);
            if (above == whole) return;
            READ(at, whole, mnt_mountpoint);
            mount = (void *)above + FIELD_OFFSET(struct mount, mnt);
            continue;
        }
        const char *name = 0;
        READ(parent, at, d_parent);
        if (parent == at) return;
        READ(name, at, d_name.name);
        if (!append(e, name, 256)) break;
        e->paths++;
        at = parent;
    }
    e->flags |= PATH_CUT;
}

INLINE void arguments_of(struct entry *e, struct mm_struct *mm)
{
    unsigned long from = 0, to = 0;
    READ(from, mm, arg_start);
    READ(to, mm, arg_end);
    u64 len = to - from;
    if (to <= from) return;
    if (len > ARGS) {
        len = ARGS;
        e->flags |= ARGS_CUT;
    }
    u64 at = e->text_len;
    ONE_REGISTER(at);
    ONE_REGISTER(len);
    if (at > TEXT || len > ARGS) return;
    if (bpf_probe_read_user(&e->text[at], (u32)len, (void *)from)) {
        /* The next page may be away. */
        len = 4096 - (from & 4095);
        ONE_REGISTER(len);
        if (len > ARGS) len = ARGS;
        e->flags |= ARGS_CUT;
        if (bpf_probe_read_user(&e->text[at], (u32)len, (void *)from)) return;
    }
    e->args_len = len;
}

/* Whether the process is the watcher itself; else who it is, in all but its texts. */
INLINE bool numbers_of(struct entry *e, struct task_struct *leader)
{
    struct pid *pid = 0;
    u32 level = 0, inode = 0, nr = 0;
    READ(pid, leader, thread_pid);
    READ(level, pid, level);
    struct upid *own = __builtin_preserve_access_index(&pid->numbers[0]);
    own += level & 31;
    struct pid_namespace *ns = 0;
    READ(nr, own, nr);
    READ(ns, own, ns);
    READ(inode, ns, ns.inum);
    if (own_pid && nr == own_pid && inode == own_pidns) return 1;
    e->vpid = nr;
    return 0;
}

/* Clears the entry and notes who asks. False where nobody may know: the watcher itself. */
INLINE bool asker(struct entry *e, struct task_struct *task)
{
    struct task_struct *leader = 0, *parent = 0;
    struct nsproxy *spaces = 0;
    struct uts_namespace *uts = 0;
    struct mnt_namespace *mounts = 0;
    struct mm_struct *mm = 0;
    struct file *exe = 0;
    __builtin_memset(e, 0, __builtin_offsetof(struct entry, text));
    READ(leader, task, group_leader);
    if (numbers_of(e, leader)) return 0;
    u64 ids = bpf_get_current_pid_tgid();
    e->pid = ids >> 32;
    e->tid = (u32)ids;
    e->uid = (u32)bpf_get_current_uid_gid();
    READ(e->born, leader, start_boottime);
    READ(parent, leader, real_parent);
    READ(e->ppid, parent, tgid);
    READ(spaces, task, nsproxy);
    READ(uts, spaces, uts_ns);
    READ(mounts, spaces, mnt_ns);
    READ(e->mntns, mounts, ns.inum);
    append(e, __builtin_preserve_access_index(&leader->comm[0]), 16);
    append(e, __builtin_preserve_access_index(&uts->name.nodename[0]), 65);
    containers_of(e, task);
    READ(mm, task, mm);
    if (!mm) return 1;
    READ(exe, mm, exe_file);
    if (exe) path_of(e, exe, task);
    arguments_of(e, mm);
    return 1;
}

/* ---- entries ------------------------------------------------------------------------------------------------------ */

INLINE void send(struct entry *e)
{
    struct counts *c = count();
    if (!c) return;
    u64 len = e->text_len + e->args_len;
    ONE_REGISTER(len);
    if (len > TEXT + ARGS) len = TEXT + ARGS;
    e->cpu = bpf_get_smp_processor_id();
    if (bpf_ringbuf_output(&ring, e, __builtin_offsetof(struct entry, text) + len, 0)) COUNT(c->dropped);
    else COUNT(c->sent);
}

INLINE struct entry *fresh(u32 writer)
{
    return bpf_map_lookup_elem(&scratch, &writer);
}

SEC("tp_btf/inet_sock_set_state")
int connect_begin(u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];
    u16 protocol = 0;
    if ((int)ctx[1] != STATE_CLOSE || (int)ctx[2] != STATE_SYN_SENT) return 0;
    READ(protocol, sk, sk_protocol);
    u32 netns = netns_of(sk);
    if (protocol != TCP || (only_netns && netns != only_netns)) return 0;
    struct task_struct *task = (void *)bpf_get_current_task();
    struct entry *e = fresh(BEGIN);
    struct counts *c = count();
    if (!e || !c) return 0;
    u32 thread = (u32)bpf_get_current_pid_tgid();
    u64 inode = inode_of(sk), key = (u64)sk;
    bpf_map_update_elem(&connecting, &thread, &inode, 0);
    if (!asker(e, task)) {
        COUNT(c->own);
        return 0;
    }
    e->start = bpf_ktime_get_ns();
    e->netns = netns;
    e->protocol = TCP;
    destination_of(e, sk);
    source_of(e, sk);
    if (bpf_map_lookup_elem(&pending, &key)) COUNT(c->unended);
    if (bpf_map_update_elem(&pending, &key, e, 0)) COUNT(c->untracked);
    return 0;
}

SEC("tp_btf/inet_sock_set_state")
int connect_end(u64 *ctx)
{
    struct sock *sk = (void *)ctx[0];
    int from = (int)ctx[1], to = (int)ctx[2];
    if (from != STATE_SYN_SENT && from != STATE_SYN_RECV) return 0;
    if (to != STATE_ESTABLISHED && to != STATE_CLOSE) return 0;
    u64 key = (u64)sk;
    struct entry *e = bpf_map_lookup_elem(&pending, &key);
    if (!e) return 0;
    e->end = bpf_ktime_get_ns();
    source_of(e, sk);
    READ(e->error, sk, sk_err);
    if (to == STATE_ESTABLISHED) {
        e->outcome = ESTABLISHED;
        e->error = 0;
    } else {
        u32 thread = (u32)bpf_get_current_pid_tgid();
        u64 inode = inode_of(sk);
        e->outcome = e->error ? FAILED : CLOSED;
        if (!e->error && has_exit && thread == e->tid) {
            u64 *now = bpf_map_lookup_elem(&connecting, &thread);
            if (now && *now == inode) {
                /* Still inside connect(), which is about to say why. */
                e->stage = 1;
                return 0;
            }
        }
        if (!e->error && !e->sport) {
            e->outcome = FAILED;
            e->error = EADDRNOTAVAIL;
        }
        if (e->error && e->nonblocking && inode) bpf_map_update_elem(&failed, &inode, &e->error, 0);
    }
    send(e);
    bpf_map_delete_elem(&pending, &key);
    return 0;
}

/* ---- what only connect() knows ------------------------------------------------------------------------------------ */

/* The socket of a descriptor. */
INLINE struct socket *socket_of(struct task_struct *task, u32 fd, u64 *inode_number)
{
    struct files_struct *files = 0;
    struct fdtable *table = 0;
    struct file **list = 0, *file = 0;
    struct inode *inode = 0;
    struct socket *socket = 0;
    u32 size = 0;
    u16 mode = 0;
    unsigned long number = 0;
    READ(files, task, files);
    READ(table, files, fdt);
    READ(size, table, max_fds);
    if (fd >= size) return 0;
    READ(list, table, fd);
    bpf_probe_read_kernel(&file, sizeof file, list + fd);
    if (!file) return 0;
    READ(inode, file, f_inode);
    READ(mode, inode, i_mode);
    READ(number, inode, i_ino);
    if ((mode & 0170000) != 0140000) return 0;
    READ(socket, file, private_data);
    *inode_number = number;
    return socket;
}

/* The address as the process wrote it. */
INLINE bool address_of(struct entry *e, const void *user)
{
    struct {
        u16 family, port;
        u32 v4;
        u8 v6[16] __attribute__((aligned(8)));
    } a = {};
    if (bpf_probe_read_user(&a, 8, user)) return 0;
    if (a.family != V4 && a.family != V6) return 0;
    e->dport = swapped(a.port);
    e->version = 4;
    if (a.family == V4) {
        __builtin_memcpy(e->daddr, &a.v4, 4);
        return 1;
    }
    if (bpf_probe_read_user(a.v6, 16, (const char *)user + 8)) return 0;
    if (is_mapped(a.v6)) {
        __builtin_memcpy(e->daddr, a.v6 + 12, 4);
    } else {
        e->version = 6;
        __builtin_memcpy(e->daddr, a.v6, 16);
    }
    return 1;
}

/* TCP that connect_begin has seen: true where nothing more is to be said. */
INLINE bool was_seen(u64 key, u64 inode, int error)
{
    u32 thread = (u32)bpf_get_current_pid_tgid();
    u64 *now = bpf_map_lookup_elem(&connecting, &thread);
    if (now && *now == inode) {
        bpf_map_delete_elem(&connecting, &thread);
        struct entry *e = bpf_map_lookup_elem(&pending, &key);
        if (!e) return 1;
        if (e->stage == 1) {
            e->outcome = FAILED;
            e->error = error;
            send(e);
            bpf_map_delete_elem(&pending, &key);
        } else {
            e->nonblocking = 1;
        }
        return 1;
    }
    s32 *said = bpf_map_lookup_elem(&failed, &inode);
    if (said) {
        bool again = *said == error;
        bpf_map_delete_elem(&failed, &inode);
        return again;
    }
    return 0;
}

/* Errors that only the state of a socket can give: they end what connect_begin has seen, or repeat its end. */
INLINE bool is_of_a_state(int error)
{
    switch (error) {
    case 0:
    case 4:   /* EINTR */
    case 103: /* ECONNABORTED */
    case 104: /* ECONNRESET */
    case EISCONN:
    case 110: /* ETIMEDOUT */
    case 111: /* ECONNREFUSED */
    case EALREADY:
    case EINPROGRESS:
        return 1;
    default:
        return error > MOST_ERRNO;
    }
}

SEC("tp_btf/sys_exit")
int connect_exit(u64 *ctx)
{
    void *regs = (void *)ctx[0];
    struct task_struct *task;
    unsigned long fd = 0, address = 0;
    if (FIELD_EXISTS(struct pt_regs___x86, orig_ax)) {
        unsigned long number = 0;
        u32 status = 0;
        READ(number, (struct pt_regs___x86 *)regs, orig_ax);
        if (number != 42) return 0;
        task = (void *)bpf_get_current_task();
        /* TS_COMPAT: a 32-bit system call, whose numbers are others. */
        READ(status, task, thread_info.status);
        if (status & 2) return 0;
        READ(fd, (struct pt_regs___x86 *)regs, di);
        READ(address, (struct pt_regs___x86 *)regs, si);
    } else {
        s32 number = 0;
        READ(number, (struct pt_regs___arm64 *)regs, syscallno);
        if (number != 203) return 0;
        task = (void *)bpf_get_current_task();
        READ(fd, (struct pt_regs___arm64 *)regs, orig_x0);
        READ(address, (struct pt_regs___arm64 *)regs, regs[1]);
    }
    int error = -(int)ctx[1];
    u64 inode = 0;
    struct socket *socket = socket_of(task, (u32)fd, &inode);
    struct sock *sk = 0;
    u16 family = 0, protocol = 0;
    if (!socket) return 0;
    READ(sk, socket, sk);
    if (!sk) return 0;
    READ(family, sk, __sk_common.skc_family);
    READ(protocol, sk, sk_protocol);
    if (family != V4 && family != V6) return 0;
    if (protocol == TCP) {
        if (was_seen((u64)sk, inode, error) || is_of_a_state(error)) return 0;
    } else if (protocol != UDP || !want_udp || error > MOST_ERRNO) {
        return 0;
    }
    u32 netns = netns_of(sk);
    if (only_netns && netns != only_netns) return 0;
    struct entry *e = fresh(EXIT);
    struct counts *c = count();
    if (!e || !c) return 0;
    if (!asker(e, task)) {
        COUNT(c->own);
        return 0;
    }
    if (!address_of(e, (void *)address)) return 0;
    /* Port 0 is how resolvers find out which address they would use: nothing is ever sent. */
    if (protocol == UDP && !e->dport) return 0;
    e->start = bpf_ktime_get_ns();
    e->netns = netns;
    e->protocol = protocol;
    e->error = error;
    e->outcome = error ? FAILED : ESTABLISHED;
    /* What the kernel made of it: 0.0.0.0 is this host. */
    if (!error) destination_of(e, sk);
    source_of(e, sk);
    send(e);
    return 0;
}
