// The library of a component in this process, and the functions that it exports.

#ifndef LICENCE_HOST_LIBRARY_H
#define LICENCE_HOST_LIBRARY_H

#include <string>

#include "ComponentExports.h"
#include "component.h"

// One use of a library; given back at the end at the latest.
class Library {
  public:
    explicit Library(const std::string& path);
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    // An object of a class; a null one when the library makes none.
    Component make(const std::string& name) const;
    // Through the export; the object is gone afterwards, and the library says so.
    void destroy(Component object) const;
    // Gives the library back; false when the system refuses.
    bool close();

    GetClassObjectPtr get_class_object;
    DestroyObjectPtr destroy_object;
    GetClassNamesPtr get_class_names;
    SetPlatformCapabilitiesPtr set_capabilities;
    GetAttachTypePtr get_attach_type;

  private:
    void* library_;
};

#endif
