// The border between the host and classes with virtual tables, in plain C functions.
//
// How a class with virtual functions is laid out is a matter of the compiler. On Windows the platform
// follows Microsoft's rules and mingw does not. So seam.cpp alone knows the classes: there it is
// compiled by clang by Microsoft's rules, without a standard library, and everything else by mingw.
// On Linux g++ compiles both, and its rules are the platform's.

#ifndef LICENCE_HOST_SEAM_H
#define LICENCE_HOST_SEAM_H

#include "types.h"

struct IComponentBase;

extern "C" {

// Destructor slots at the head of a virtual table by the rules that seam.cpp was compiled by: 1 by
// Microsoft's, 2 by the others.
long seam_destructor_slots();

// The methods of a component object, each called by its virtual table.
bool seam_Init(IComponentBase* object, void* connection);
bool seam_setMemManager(IComponentBase* object, void* manager);
long seam_GetInfo(IComponentBase* object);
void seam_Done(IComponentBase* object);
bool seam_RegisterExtensionAs(IComponentBase* object, WCHAR_T** name);
long seam_GetNProps(IComponentBase* object);
long seam_FindProp(IComponentBase* object, const WCHAR_T* name);
const WCHAR_T* seam_GetPropName(IComponentBase* object, long prop, long alias);
bool seam_GetPropVal(IComponentBase* object, long prop, tVariant* value);
bool seam_SetPropVal(IComponentBase* object, long prop, tVariant* value);
bool seam_IsPropReadable(IComponentBase* object, long prop);
bool seam_IsPropWritable(IComponentBase* object, long prop);
long seam_GetNMethods(IComponentBase* object);
long seam_FindMethod(IComponentBase* object, const WCHAR_T* name);
const WCHAR_T* seam_GetMethodName(IComponentBase* object, long method, long alias);
long seam_GetNParams(IComponentBase* object, long method);
bool seam_GetParamDefValue(IComponentBase* object, long method, long param, tVariant* value);
bool seam_HasRetVal(IComponentBase* object, long method);
bool seam_CallAsProc(IComponentBase* object, long method, tVariant* params, long count);
bool seam_CallAsFunc(IComponentBase* object, long method, tVariant* result, tVariant* params,
                     long count);
void seam_SetLocale(IComponentBase* object, const WCHAR_T* locale);
void seam_SetUserInterfaceLanguageCode(IComponentBase* object, const WCHAR_T* language);
// `delete` through base 0 to 3, or through the whole class for any other number.
void seam_delete(IComponentBase* object, int base);

// Objects that the component calls. Each call of it arrives below, with the same `host`.
void* seam_new_memory_manager(void* host);
void seam_delete_memory_manager(void* manager);
void* seam_new_connection(void* host);
void seam_delete_connection(void* connection);

// Where those calls arrive; platform.cpp.
bool host_alloc_memory(void* host, void** memory, unsigned long bytes);
void host_free_memory(void* host, void** memory);
bool host_add_error(void* host, unsigned short wcode, const WCHAR_T* source, const WCHAR_T* descr);
// Whether the connection offers a further interface.
bool host_has_interface(void* host, int number);
const AppInfo* host_platform_info(void* host);

// Memory for the objects themselves.
void* host_new(size_t bytes);
void host_delete(void* memory);
}

#endif
