// Loaded before the C library of a process, this takes the power away from the files below $POWER_LOSS_ROOT: at the
// $POWER_LOSS_AFTER-th open for writing, write, rename or sync there it cuts each file to what had been synced, and kills the
// process. At a normal exit it writes how many such calls there were to $POWER_LOSS_COUNT.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MOST 65536

static struct { dev_t device; ino_t inode; int copy; off_t durable; } files[MOST];
static int used;
static long calls, last;
static const char *root;
static pid_t process;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    root = getenv("POWER_LOSS_ROOT");
    last = getenv("POWER_LOSS_AFTER") ? atol(getenv("POWER_LOSS_AFTER")) : 0;
    process = getpid();
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("POWER_LOSS_COUNT");
    if (path && getpid() == process) {
        FILE *file = fopen(path, "w");
        fprintf(file, "%ld\n", calls);
        fclose(file);
    }
}

static int find(const struct stat *status) {
    for (int i = 0; i < used; i++)
        if (files[i].inode == status->st_ino && files[i].device == status->st_dev) return i;
    return -1;
}

static void count(void) {
    if (++calls != last) return;
    for (int i = 0; i < used; i++) {
        struct stat status;
        if (fstat(files[i].copy, &status) == 0 && status.st_size > files[i].durable)
            ftruncate(files[i].copy, files[i].durable);
    }
    kill(getpid(), SIGKILL);
}

static int is_ours(int descriptor) {
    char link[64], path[4096];
    if (!root || getpid() != process) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 0 && (path[length] = 0, strncmp(path, root, strlen(root)) == 0);
}

static int opened(int descriptor, int flags) {
    struct stat status;
    if (descriptor < 0 || (flags & O_ACCMODE) == O_RDONLY || !is_ours(descriptor)) return descriptor;
    if (fstat(descriptor, &status) || !S_ISREG(status.st_mode)) return descriptor;
    pthread_mutex_lock(&lock);
    int i = find(&status);
    if (i < 0 && used < MOST) {  // what was there before this process is durable
        files[i = used++].device = status.st_dev;
        files[i].inode = status.st_ino;
        files[i].copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 512);
        files[i].durable = status.st_size;
    }
    if (i >= 0 && status.st_size < files[i].durable) files[i].durable = status.st_size;
    count();
    pthread_mutex_unlock(&lock);
    return descriptor;
}

static void did(int descriptor, int synced) {
    struct stat status;
    if (!is_ours(descriptor)) return;
    pthread_mutex_lock(&lock);
    if (synced && fstat(descriptor, &status) == 0) {
        int i = find(&status);
        if (i >= 0) files[i].durable = status.st_size;
    }
    count();
    pthread_mutex_unlock(&lock);
}

static void renamed(const char *path) {
    if (!root || getpid() != process || strncmp(path, root, strlen(root))) return;
    pthread_mutex_lock(&lock);
    count();
    pthread_mutex_unlock(&lock);
}

#define MODE(flags) ({ mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } mode; })

int open(const char *path, int flags, ...) { return opened(REAL(open)(path, flags, MODE(flags)), flags); }
int open64(const char *path, int flags, ...) { return opened(REAL(open64)(path, flags, MODE(flags)), flags); }
int openat(int folder, const char *path, int flags, ...) {
    return opened(REAL(openat)(folder, path, flags, MODE(flags)), flags);
}
int openat64(int folder, const char *path, int flags, ...) {
    return opened(REAL(openat64)(folder, path, flags, MODE(flags)), flags);
}
ssize_t write(int descriptor, const void *bytes, size_t size) {
    ssize_t done = REAL(write)(descriptor, bytes, size);
    did(descriptor, 0);
    return done;
}
ssize_t writev(int descriptor, const struct iovec *parts, int number) {
    ssize_t done = REAL(writev)(descriptor, parts, number);
    did(descriptor, 0);
    return done;
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off_t offset) {
    ssize_t done = REAL(pwrite64)(descriptor, bytes, size, offset);
    did(descriptor, 0);
    return done;
}
int fsync(int descriptor) {
    int failed = REAL(fsync)(descriptor);
    did(descriptor, 1);
    return failed;
}
int fdatasync(int descriptor) {
    int failed = REAL(fdatasync)(descriptor);
    did(descriptor, 1);
    return failed;
}
int rename(const char *before, const char *after) {
    int failed = REAL(rename)(before, after);
    renamed(after);
    return failed;
}
