#include "library.h"

#include "platform.h"
#include "script.h"
#include "system.h"

namespace {

template <class F>
void take(void* library, const char* name, F& function) {
    void* address = find_export(library, name);
    if (!address) {
        close_library(library);
        fail(std::string("no export ") + name);
    }
    function = reinterpret_cast<F>(address);
}

}  // namespace

Library::Library(const std::string& path) : library_(open_library(path)) {
    take(library_, "GetClassObject", get_class_object);
    take(library_, "DestroyObject", destroy_object);
    take(library_, "GetClassNames", get_class_names);
    take(library_, "SetPlatformCapabilities", set_capabilities);
    take(library_, "GetAttachType", get_attach_type);
}

Library::~Library() { close(); }

Component Library::make(const std::string& name) const {
    IComponentBase* object = nullptr;
    return Component(get_class_object(Wide(name).c_str(), &object) ? object : nullptr);
}

void Library::destroy(Component object) const {
    IComponentBase* target = object.raw();
    if (destroy_object(&target) != 0 || target) {
        fail("not destroyed");
    }
}

bool Library::close() {
    void* library = library_;
    library_ = nullptr;
    return !library || close_library(library);
}
