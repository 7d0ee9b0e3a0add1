#include <dirent.h>
#include <dlfcn.h>

#include <cstdlib>
#include <fstream>

#include "script.h"
#include "system.h"

std::vector<std::string> arguments(int argc, char** argv) { return {argv, argv + argc}; }

std::filesystem::path file_path(const std::string& name) { return name; }

std::string full_name(const std::string& name) {
    std::string found = name;
    if (char* full = realpath(name.c_str(), nullptr)) {
        found = full;
        std::free(full);
    }
    return found;
}

void* open_library(const std::string& name) {
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fail(dlerror());
    }
    return library;
}

void* find_export(void* library, const char* name) { return dlsym(library, name); }

bool close_library(void* library) { return dlclose(library) == 0; }

bool is_mapped(const std::string& name) {
    std::ifstream maps("/proc/self/maps");
    const std::string last = name.substr(name.rfind('/') + 1);
    for (std::string line; std::getline(maps, line);) {
        if (line.find(last) != std::string::npos) {
            return true;
        }
    }
    return false;
}

int listed_threads() {
    int count = 0;
    if (DIR* dir = opendir("/proc/self/task")) {
        while (const dirent* entry = readdir(dir)) {
            count += entry->d_name[0] != '.';
        }
        closedir(dir);
    }
    return count;
}
