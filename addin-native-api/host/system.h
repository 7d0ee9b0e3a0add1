// What the host asks of the operating system: libraries, threads, the command line.

#ifndef LICENCE_HOST_SYSTEM_H
#define LICENCE_HOST_SYSTEM_H

#include <filesystem>
#include <string>
#include <vector>

// Arguments in UTF-8; also makes the standard streams carry lines that end with a single newline on
// every system, and a crash be told on the error stream.
std::vector<std::string> arguments(int argc, char** argv);

// A file by its name in UTF-8.
std::filesystem::path file_path(const std::string& name);

// The name of a file with all folders; the name itself when there is no such file.
std::string full_name(const std::string& name);

// Loads a library; fails with what the system says.
void* open_library(const std::string& name);

// An exported function; null when there is none.
void* find_export(void* library, const char* name);

// Whether the system took the library back.
bool close_library(void* library);

// Whether a library of this name is in the process.
bool is_mapped(const std::string& name);

// Threads of this process.
int listed_threads();

#endif
