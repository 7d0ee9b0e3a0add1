#include "platform.h"

#include <cstdlib>
#include <cstring>

std::vector<WCHAR_T> to_wide(const std::string& text) {
    std::vector<WCHAR_T> units;
    size_t at = 0;
    while (at < text.size()) {
        const unsigned char lead = static_cast<unsigned char>(text[at]);
        size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
        bool good = length > 0 && at + length <= text.size();
        uint32_t point = length == 1 ? lead : lead & (0xff >> (length + 1));
        for (size_t i = 1; good && i < length; ++i) {
            const unsigned char next = static_cast<unsigned char>(text[at + i]);
            good = next >> 6 == 2;
            point = point << 6 | (next & 0x3f);
        }
        if (!good) {
            units.push_back(0xfffd);
            ++at;
            continue;
        }
        at += length;
        if (point >= 0x10000) {
            point -= 0x10000;
            units.push_back(static_cast<WCHAR_T>(0xd800 + (point >> 10)));
            units.push_back(static_cast<WCHAR_T>(0xdc00 + (point & 0x3ff)));
        } else {
            units.push_back(static_cast<WCHAR_T>(point));
        }
    }
    return units;
}

std::string from_wide(const WCHAR_T* units, size_t count) {
    std::string text;
    for (size_t i = 0; i < count; ++i) {
        uint32_t point = units[i];
        if (point >= 0xd800 && point < 0xdc00 && i + 1 < count && units[i + 1] >= 0xdc00 &&
            units[i + 1] < 0xe000) {
            point = 0x10000 + ((point - 0xd800) << 10) + (units[++i] - 0xdc00);
        } else if (point >= 0xd800 && point < 0xe000) {
            point = 0xfffd;
        }
        if (point < 0x80) {
            text += static_cast<char>(point);
        } else if (point < 0x800) {
            text += static_cast<char>(0xc0 | point >> 6);
            text += static_cast<char>(0x80 | (point & 0x3f));
        } else if (point < 0x10000) {
            text += static_cast<char>(0xe0 | point >> 12);
            text += static_cast<char>(0x80 | (point >> 6 & 0x3f));
            text += static_cast<char>(0x80 | (point & 0x3f));
        } else {
            text += static_cast<char>(0xf0 | point >> 18);
            text += static_cast<char>(0x80 | (point >> 12 & 0x3f));
            text += static_cast<char>(0x80 | (point >> 6 & 0x3f));
            text += static_cast<char>(0x80 | (point & 0x3f));
        }
    }
    return text;
}

std::string from_wide(const WCHAR_T* units) {
    size_t count = 0;
    while (units && units[count]) {
        ++count;
    }
    return from_wide(units, count);
}

MemoryManager::MemoryManager() : object_(seam_new_memory_manager(this)) {}

MemoryManager::~MemoryManager() { seam_delete_memory_manager(object_); }

bool MemoryManager::AllocMemory(void** memory, unsigned long bytes) {
    if (!memory || exhausted_) {
        return false;
    }
    *memory = std::malloc(bytes ? bytes : 1);
    if (*memory) {
        // Whoever forgets the terminator shall not find a zero by chance.
        std::memset(*memory, 0xee, bytes);
        const std::lock_guard<std::mutex> guard(lock_);
        living_.insert(*memory);
    }
    return *memory != nullptr;
}

void MemoryManager::FreeMemory(void** memory) {
    if (!memory || !*memory) {
        return;
    }
    bool was_living = false;
    {
        const std::lock_guard<std::mutex> guard(lock_);
        was_living = living_.erase(*memory) != 0;
    }
    if (was_living) {
        std::free(*memory);
    } else {
        ++foreign_;
    }
    *memory = nullptr;
}

size_t MemoryManager::outstanding() const {
    const std::lock_guard<std::mutex> guard(lock_);
    return living_.size();
}

bool MemoryManager::owns(void* memory) const {
    const std::lock_guard<std::mutex> guard(lock_);
    return living_.count(memory) != 0;
}

Connection::Connection() : object_(seam_new_connection(this)) {}

Connection::~Connection() { seam_delete_connection(object_); }

void Connection::add_error(unsigned short wcode, const WCHAR_T* source, const WCHAR_T* descr) {
    const std::lock_guard<std::mutex> guard(lock_);
    errors_.push_back(std::to_string(wcode) + " " + from_wide(source) + ": " + from_wide(descr));
}

std::vector<std::string> Connection::take_errors() {
    const std::lock_guard<std::mutex> guard(lock_);
    std::vector<std::string> errors;
    errors.swap(errors_);
    return errors;
}

bool host_alloc_memory(void* host, void** memory, unsigned long bytes) {
    return static_cast<MemoryManager*>(host)->AllocMemory(memory, bytes);
}

void host_free_memory(void* host, void** memory) {
    static_cast<MemoryManager*>(host)->FreeMemory(memory);
}

bool host_add_error(void* host, unsigned short wcode, const WCHAR_T* source, const WCHAR_T* descr) {
    static_cast<Connection*>(host)->add_error(wcode, source, descr);
    return true;
}

bool host_has_interface(void* host, int /*number*/) {
    return static_cast<Connection*>(host)->offers_platform();
}

const AppInfo* host_platform_info(void* host) {
    return static_cast<Connection*>(host)->platform_info();
}

void* host_new(size_t bytes) { return ::operator new(bytes); }

void host_delete(void* memory) { ::operator delete(memory); }
