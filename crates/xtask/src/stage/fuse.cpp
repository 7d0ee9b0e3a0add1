// A fuse for a process: it is killed (SIGKILL) before a certain write to the disk.
//
// Loaded in front of the C library. Counts the steps by which programs change files that must last,
// among all threads, and kills the process instead of the one whose turn it is. A step is a sync, a
// rename, a removal, and the first of the writes to one file that no other step comes between: what
// happens within them is the database's own affair. Writes to sockets, terminals and logs (what is
// opened to append) do not count. LICENCE_FUSE names a file of 8 bytes: how many steps are left, 0 for
// no limit, and how many there have been.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace {

struct Fuse {
    std::atomic<std::uint32_t> left;
    std::atomic<std::uint32_t> seen;
};

Fuse* fuse = nullptr;

// The file that was written to last, if no other step has come since.
std::atomic<int> written{-1};

__attribute__((constructor)) void open_fuse() {
    const char* name = getenv("LICENCE_FUSE");
    if (name == nullptr) return;
    const int file = open(name, O_RDWR | O_CLOEXEC);
    if (file < 0) abort();
    void* memory = mmap(nullptr, sizeof(Fuse), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) abort();
    fuse = static_cast<Fuse*>(memory);
}

void step() {
    if (fuse == nullptr) return;
    fuse->seen.fetch_add(1);
    std::uint32_t left = fuse->left.load();
    while (left != 0 && !fuse->left.compare_exchange_weak(left, left - 1)) {
    }
    if (left == 1) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

void step_of_change() {
    written.store(-1);
    step();
}

bool lasts(int file) {
    struct stat state;
    const int flags = fcntl(file, F_GETFL);
    return flags >= 0 && (flags & O_APPEND) == 0 && fstat(file, &state) == 0 && S_ISREG(state.st_mode);
}

void step_of_write(int file) {
    if (fuse != nullptr && lasts(file) && written.exchange(file) != file) step();
}

template <typename Call>
Call next(const char* name) {
    return reinterpret_cast<Call>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int fsync(int file) {
    static const auto call = next<int (*)(int)>("fsync");
    step_of_change();
    return call(file);
}

int fdatasync(int file) {
    static const auto call = next<int (*)(int)>("fdatasync");
    step_of_change();
    return call(file);
}

int rename(const char* from, const char* to) noexcept {
    static const auto call = next<int (*)(const char*, const char*)>("rename");
    step_of_change();
    return call(from, to);
}

int unlink(const char* name) noexcept {
    static const auto call = next<int (*)(const char*)>("unlink");
    step_of_change();
    return call(name);
}

ssize_t write(int file, const void* bytes, size_t count) {
    static const auto call = next<ssize_t (*)(int, const void*, size_t)>("write");
    step_of_write(file);
    return call(file, bytes, count);
}

ssize_t pwrite(int file, const void* bytes, size_t count, off_t at) {
    static const auto call = next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
    step_of_write(file);
    return call(file, bytes, count, at);
}

ssize_t pwrite64(int file, const void* bytes, size_t count, off64_t at) {
    static const auto call = next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
    step_of_write(file);
    return call(file, bytes, count, at);
}

}  // extern "C"
