// What a broken host does to an object, and taking back what the object allocated.

#ifndef LICENCE_HOST_MISUSE_H
#define LICENCE_HOST_MISUSE_H

#include <string>

#include "component.h"
#include "library.h"
#include "platform.h"

// Takes a text that the component allocated, and frees it.
std::string taken(MemoryManager& manager, const WCHAR_T* text);

// Frees what a call may have left in a variant.
void discard(MemoryManager& memory_manager, tVariant& variant);

// Everything that a broken host may do short of wild pointers: to the library's exports, to objects that
// were never begun, and to one that is in use.
void abuse(const Library& library, MemoryManager& memory, Component target);

#endif
