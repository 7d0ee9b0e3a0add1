// A component object, as everything but the seam knows it.

#ifndef LICENCE_HOST_COMPONENT_H
#define LICENCE_HOST_COMPONENT_H

#include "seam.h"

// A pointer to a component object: its methods go through the seam. Owns nothing.
class Component {
  public:
    explicit Component(IComponentBase* object) : object_(object) {}

    bool Init(void* connection) const { return seam_Init(object_, connection); }
    bool setMemManager(void* manager) const { return seam_setMemManager(object_, manager); }
    long GetInfo() const { return seam_GetInfo(object_); }
    void Done() const { seam_Done(object_); }
    bool RegisterExtensionAs(WCHAR_T** name) const {
        return seam_RegisterExtensionAs(object_, name);
    }
    long GetNProps() const { return seam_GetNProps(object_); }
    long FindProp(const WCHAR_T* name) const { return seam_FindProp(object_, name); }
    const WCHAR_T* GetPropName(long prop, long alias) const {
        return seam_GetPropName(object_, prop, alias);
    }
    bool GetPropVal(long prop, tVariant* value) const {
        return seam_GetPropVal(object_, prop, value);
    }
    bool SetPropVal(long prop, tVariant* value) const {
        return seam_SetPropVal(object_, prop, value);
    }
    bool IsPropReadable(long prop) const { return seam_IsPropReadable(object_, prop); }
    bool IsPropWritable(long prop) const { return seam_IsPropWritable(object_, prop); }
    long GetNMethods() const { return seam_GetNMethods(object_); }
    long FindMethod(const WCHAR_T* name) const { return seam_FindMethod(object_, name); }
    const WCHAR_T* GetMethodName(long method, long alias) const {
        return seam_GetMethodName(object_, method, alias);
    }
    long GetNParams(long method) const { return seam_GetNParams(object_, method); }
    bool GetParamDefValue(long method, long param, tVariant* value) const {
        return seam_GetParamDefValue(object_, method, param, value);
    }
    bool HasRetVal(long method) const { return seam_HasRetVal(object_, method); }
    bool CallAsProc(long method, tVariant* params, long count) const {
        return seam_CallAsProc(object_, method, params, count);
    }
    bool CallAsFunc(long method, tVariant* result, tVariant* params, long count) const {
        return seam_CallAsFunc(object_, method, result, params, count);
    }
    void SetLocale(const WCHAR_T* locale) const { seam_SetLocale(object_, locale); }
    void SetUserInterfaceLanguageCode(const WCHAR_T* language) const {
        seam_SetUserInterfaceLanguageCode(object_, language);
    }

    // `delete` through one of the four bases, or through the class itself.
    void destroy(int base = kWhole) const { seam_delete(object_, base); }

    IComponentBase* raw() const { return object_; }

  private:
    static constexpr int kWhole = -1;

    IComponentBase* object_;
};

#endif
