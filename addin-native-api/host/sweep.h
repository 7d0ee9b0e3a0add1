// Every member of an object with every argument that a script or a broken host may think of.

#ifndef LICENCE_HOST_SWEEP_H
#define LICENCE_HOST_SWEEP_H

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "component.h"
#include "platform.h"

// What a script knows of the members; their names it has from the object.
struct Rights {
    // Right values of a method's first parameters; the others get their defaults.
    std::map<std::string, std::vector<std::string>> values;
    // Calls that bring the object into the state in which a member means something: made before
    // each member is tried.
    std::vector<std::pair<std::string, std::vector<std::string>>> before;
};

// Calls every method and property of the object in so many threads at once and says how many calls
// there were, how many members answered false, and how many answers broke a promise of the Native
// API: a type that the platform does not take, a text without terminator or with half a pair,
// memory that is not the host's.
std::string sweep(MemoryManager& memory, Component target, const Rights& rights, int threads);

#endif
