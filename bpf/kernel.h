/* What connects.bpf.c needs of the kernel, without its headers: helpers by number, and of each struct the fields that are
 * read. Where they lie is found out when the program is loaded, from the kernel's own BTF (CO-RE). */

#ifndef PODTAP_KERNEL_H
#define PODTAP_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline))
#define CORE __attribute__((preserve_access_index))

/* bpf.h of the kernel: numbers of helpers, types and flags of maps. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static u64 (*bpf_get_current_pid_tgid)(void) = (void *)14;
static u64 (*bpf_get_current_uid_gid)(void) = (void *)15;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;

#define MAP_HASH 1
#define MAP_PER_CPU_ARRAY 6
#define MAP_LRU_HASH 9
#define MAP_RING 27
#define NO_PREALLOC 1

/* The shape of a map's definition in BTF. */
#define NUMBER(name, value) int(*name)[value]
#define TYPE(name, type) type *name

/* Reads `path` of a struct in the kernel into `to`; zero where that fails. */
#define READ(to, from, path)                                                                                           \
    bpf_probe_read_kernel(&(to), sizeof(to), __builtin_preserve_access_index(&(from)->path))
/* Keeps a number in one register, so that the verifier sees it compared and used as the same. */
#define ONE_REGISTER(number) asm volatile("" : "+r"(number))
#define FIELD_EXISTS(type, path) __builtin_preserve_field_info(((type *)0)->path, 2)
#define FIELD_OFFSET(type, path) __builtin_preserve_field_info(((type *)0)->path, 0)
#define ENUM_EXISTS(type, value) __builtin_preserve_enum_value(*(enum type *)value, 0)
#define ENUM_VALUE(type, value) __builtin_preserve_enum_value(*(enum type *)value, 1)

struct ns_common {
    u32 inum;
} CORE;
struct net {
    struct ns_common ns;
} CORE;
struct mnt_namespace {
    struct ns_common ns;
} CORE;
struct pid_namespace {
    struct ns_common ns;
} CORE;
struct new_utsname {
    char nodename[65];
} CORE;
struct uts_namespace {
    struct new_utsname name;
} CORE;
struct nsproxy {
    struct uts_namespace *uts_ns;
    struct mnt_namespace *mnt_ns;
} CORE;

struct upid {
    int nr;
    struct pid_namespace *ns;
} CORE;
struct pid {
    u32 level;
    struct upid numbers[1];
} CORE;

struct qstr {
    const char *name;
} CORE;
struct dentry {
    struct dentry *d_parent;
    struct qstr d_name;
} CORE;
struct vfsmount {
    struct dentry *mnt_root;
} CORE;
struct mount {
    struct mount *mnt_parent;
    struct dentry *mnt_mountpoint;
    struct vfsmount mnt;
} CORE;
struct path {
    struct vfsmount *mnt;
    struct dentry *dentry;
} CORE;
struct inode {
    u16 i_mode;
    unsigned long i_ino;
} CORE;
struct file {
    struct path f_path;
    struct inode *f_inode;
    void *private_data;
} CORE;
struct fdtable {
    u32 max_fds;
    struct file **fd;
} CORE;
struct files_struct {
    struct fdtable *fdt;
} CORE;
struct fs_struct {
    struct path root;
} CORE;

struct kernfs_node {
    const char *name;
    struct kernfs_node *parent;
} CORE;
/* Its name from Linux 6.15 on. */
struct kernfs_node___new {
    struct kernfs_node *__parent;
} CORE;
struct cgroup {
    int level;
    struct kernfs_node *kn;
    void *root;
} CORE;
struct cgroup_subsys_state {
    struct cgroup *cgroup;
} CORE;
struct css_set {
    struct cgroup_subsys_state *subsys[1];
    struct cgroup *dfl_cgrp;
} CORE;
enum cgroup_subsys_id {
    memory_cgrp_id = 4,
};

struct mm_struct {
    unsigned long arg_start;
    unsigned long arg_end;
    struct file *exe_file;
} CORE;
struct thread_info {
    u32 status;
} CORE;
struct task_struct {
    struct thread_info thread_info;
    struct task_struct *group_leader;
    struct task_struct *real_parent;
    int tgid;
    u64 start_boottime;
    char comm[16];
    struct pid *thread_pid;
    struct nsproxy *nsproxy;
    struct css_set *cgroups;
    struct mm_struct *mm;
    struct fs_struct *fs;
    struct files_struct *files;
} CORE;

struct in6_addr {
    u8 bytes[16];
};
struct sock_common {
    u32 skc_daddr;
    u32 skc_rcv_saddr;
    u16 skc_dport;
    u16 skc_family;
    struct {
        struct net *net;
    } skc_net;
    struct in6_addr skc_v6_daddr;
    struct in6_addr skc_v6_rcv_saddr;
} CORE;
struct sock {
    struct sock_common __sk_common;
    u16 sk_protocol;
    u16 sk_type;
    int sk_err;
    struct socket *sk_socket;
} CORE;
struct inet_sock {
    u16 inet_sport;
} CORE;
struct socket {
    struct sock *sk;
    struct file *file;
} CORE;

/* Registers of a thread at a system call. */
struct pt_regs___x86 {
    unsigned long di;
    unsigned long si;
    unsigned long orig_ax;
} CORE;
struct pt_regs___arm64 {
    u64 regs[31];
    u64 orig_x0;
    s32 syscallno;
} CORE;

#endif
