// Threads that each load the library, work with it and give it back, all at once.

#ifndef LICENCE_HOST_CROWD_H
#define LICENCE_HOST_CROWD_H

#include <string>
#include <vector>

#include "platform.h"

// Each of so many threads so many times: dlopen, an object of either class by turns, the
// properties, Start, a counter, destruction, dlclose. `properties` are names and values to set.
// Says how many starts worked.
long crowd(const std::string& path, MemoryManager& memory, int threads, int rounds,
           const std::vector<std::pair<std::string, std::string>>& properties);

#endif
