// The platform's side: strings, memory, connection. What a session does is in host.cpp.

#ifndef LICENCE_HOST_PLATFORM_H
#define LICENCE_HOST_PLATFORM_H

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "ComponentBase.h"

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
class MemoryManager final : public IMemoryManager {
  public:
    bool ADDIN_API AllocMemory(void** memory, unsigned long bytes) override;
    void ADDIN_API FreeMemory(void** memory) override;

    // Allocations that nobody has freed.
    size_t outstanding() const;
    // Pointers that were freed without having been allocated here.
    size_t foreign() const { return foreign_; }
    // Whether this was allocated here and not freed.
    bool owns(void* memory) const;
    // Refuses everything from here on, as a host without memory does.
    void exhaust(bool exhausted) { exhausted_ = exhausted; }

  private:
    mutable std::mutex lock_;
    std::set<void*> living_;
    std::atomic<size_t> foreign_{0};
    std::atomic<bool> exhausted_{false};
};

// Tells what application the host plays.
class PlatformInfo final : public IPlatformInfo {
  public:
    const AppInfo* ADDIN_API GetPlatformInfo() override { return silent_ ? nullptr : &info_; }

    void play(int application) { info_.Application = static_cast<AppInfo::AppType>(application); }
    // Gives no answer from here on.
    void silence(bool silent) { silent_ = silent; }

  private:
    Wide version_{"8.3.24.1234"};
    Wide agent_{""};
    AppInfo info_{version_.c_str(), agent_.c_str(), AppInfo::eAppUnknown};
    bool silent_ = false;
};

// Records errors, tells the application; the rest does nothing, as on a server of the platform.
class Connection final : public IAddInDefBaseEx {
  public:
    bool ADDIN_API AddError(unsigned short wcode, const WCHAR_T* source, const WCHAR_T* descr,
                            long scode) override;
    bool ADDIN_API Read(WCHAR_T*, tVariant*, long*, WCHAR_T**) override { return false; }
    bool ADDIN_API Write(WCHAR_T*, tVariant*) override { return false; }
    bool ADDIN_API RegisterProfileAs(WCHAR_T*) override { return false; }
    bool ADDIN_API SetEventBufferDepth(long) override { return false; }
    long ADDIN_API GetEventBufferDepth() override { return 0; }
    bool ADDIN_API ExternalEvent(WCHAR_T*, WCHAR_T*, WCHAR_T*) override { return false; }
    void ADDIN_API CleanEventBuffer() override {}
    bool ADDIN_API SetStatusLine(WCHAR_T*) override { return false; }
    void ADDIN_API ResetStatusLine() override {}
    IInterface* ADDIN_API GetInterface(Interfaces number) override {
        return number == eIPlatformInfo && !bare_ ? &platform_ : nullptr;
    }

    PlatformInfo& platform() { return platform_; }
    // Offers no further interface from here on.
    void strip(bool bare) { bare_ = bare; }

    // The recorded errors, "code source: text"; forgets them.
    std::vector<std::string> take_errors();

  private:
    PlatformInfo platform_;
    bool bare_ = false;
    std::mutex lock_;
    std::vector<std::string> errors_;
};

#endif
