// The platform's side: strings, memory, connection. What a session does is in host.cpp; the objects with
// virtual tables that a component sees of it are the seam's.

#ifndef LICENCE_HOST_PLATFORM_H
#define LICENCE_HOST_PLATFORM_H

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "seam.h"

// UTF-16 from UTF-8, without a terminator; broken bytes become U+FFFD.
std::vector<WCHAR_T> to_wide(const std::string& text);

// UTF-8 from UTF-16; lone surrogates become U+FFFD.
std::string from_wide(const WCHAR_T* units, size_t count);

// UTF-8 from terminated UTF-16; empty for null.
std::string from_wide(const WCHAR_T* units);

// A terminated UTF-16 copy that lives as long as this object.
class Wide {
  public:
    explicit Wide(const std::string& text) : units_(to_wide(text)) { units_.push_back(0); }
    const WCHAR_T* c_str() const { return units_.data(); }

  private:
    std::vector<WCHAR_T> units_;
};

// Counts what it gives out, so that a leak over the border is seen. Objects of several threads may
// share one.
class MemoryManager {
  public:
    MemoryManager();
    ~MemoryManager();
    MemoryManager(const MemoryManager&) = delete;
    MemoryManager& operator=(const MemoryManager&) = delete;

    bool AllocMemory(void** memory, unsigned long bytes);
    void FreeMemory(void** memory);

    // What a component gets of it.
    void* object() const { return object_; }
    // Allocations that nobody has freed.
    size_t outstanding() const;
    // Pointers that were freed without having been allocated here.
    size_t foreign() const { return foreign_; }
    // Whether this was allocated here and not freed.
    bool owns(void* memory) const;
    // Refuses everything from here on, as a host without memory does.
    void exhaust(bool exhausted) { exhausted_ = exhausted; }

  private:
    void* object_;
    mutable std::mutex lock_;
    std::set<void*> living_;
    std::atomic<size_t> foreign_{0};
    std::atomic<bool> exhausted_{false};
};

// Records errors and tells what application the host plays.
class Connection {
  public:
    Connection();
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // What a component gets of it.
    void* object() const { return object_; }
    void add_error(unsigned short wcode, const WCHAR_T* source, const WCHAR_T* descr);
    const AppInfo* platform_info() const { return silent_ ? nullptr : &info_; }
    bool offers_platform() const { return !bare_; }

    void play(int application) { info_.Application = static_cast<AppInfo::AppType>(application); }
    // Gives no answer about the application from here on.
    void silence(bool silent) { silent_ = silent; }
    // Offers no further interface from here on.
    void strip(bool bare) { bare_ = bare; }

    // The recorded errors, "code source: text"; forgets them.
    std::vector<std::string> take_errors();

  private:
    void* object_;
    Wide version_{"8.3.24.1234"};
    Wide agent_{""};
    AppInfo info_{version_.c_str(), agent_.c_str(), AppInfo::eAppUnknown};
    bool silent_ = false;
    bool bare_ = false;
    std::mutex lock_;
    std::vector<std::string> errors_;
};

#endif
