#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#include <tlhelp32.h>

#include <cstdio>

#include "platform.h"
#include "script.h"
#include "system.h"

namespace {

std::wstring wide(const std::string& text) {
    const std::vector<WCHAR_T> units = to_wide(text);
    return {units.begin(), units.end()};
}

std::string narrow(const wchar_t* text) {
    return from_wide(reinterpret_cast<const WCHAR_T*>(text));
}

// Says what happened where a person sees it, instead of a window that nobody closes.
LONG WINAPI tell_of_crash(EXCEPTION_POINTERS* crash) {
    std::fprintf(stderr, "crash %08lx at %p\n", crash->ExceptionRecord->ExceptionCode,
                 crash->ExceptionRecord->ExceptionAddress);
    std::fflush(stderr);
    TerminateProcess(GetCurrentProcess(), 99);
    return EXCEPTION_EXECUTE_HANDLER;
}

}  // namespace

std::vector<std::string> arguments(int /*argc*/, char** /*argv*/) {
    SetUnhandledExceptionFilter(tell_of_crash);
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    // The narrow ones are of a code page that does not know every name.
    std::vector<std::string> all;
    int count = 0;
    if (wchar_t** words = CommandLineToArgvW(GetCommandLineW(), &count)) {
        for (int i = 0; i < count; ++i) {
            all.push_back(narrow(words[i]));
        }
        LocalFree(words);
    }
    return all;
}

std::filesystem::path file_path(const std::string& name) { return wide(name); }

std::string full_name(const std::string& name) {
    std::error_code why;
    const std::filesystem::path path = std::filesystem::absolute(file_path(name), why);
    return why ? name : narrow(path.c_str());
}

void* open_library(const std::string& name) {
    HMODULE library = LoadLibraryW(wide(name).c_str());
    if (!library) {
        fail("the system does not load it: error " + std::to_string(GetLastError()));
    }
    return library;
}

void* find_export(void* library, const char* name) {
    return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

bool close_library(void* library) { return FreeLibrary(static_cast<HMODULE>(library)) != 0; }

bool is_mapped(const std::string& name) {
    const std::string last = name.substr(name.find_last_of("/\\") + 1);
    return GetModuleHandleW(wide(last).c_str()) != nullptr;
}

int listed_threads() {
    HANDLE shot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    if (shot == INVALID_HANDLE_VALUE) {
        return 0;
    }
    int count = 0;
    THREADENTRY32 entry;
    entry.dwSize = sizeof entry;
    for (BOOL more = Thread32First(shot, &entry); more; more = Thread32Next(shot, &entry)) {
        count += entry.th32OwnerProcessID == GetCurrentProcessId();
    }
    CloseHandle(shot);
    return count;
}
