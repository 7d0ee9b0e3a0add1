// What a component offers to the platform. Written for this project from the published description of
// the interface (MIT OR Apache-2.0).

#ifndef ADDIN_NATIVE_API_COMPONENT_BASE_H
#define ADDIN_NATIVE_API_COMPONENT_BASE_H

#include "AddInDefBase.h"

// Life of an object.
struct IInitDoneBase {
    virtual ~IInitDoneBase() {}
    virtual bool ADDIN_API Init(void* connection) = 0;
    virtual bool ADDIN_API setMemManager(void* manager) = 0;
    virtual long ADDIN_API GetInfo() = 0;
    virtual void ADDIN_API Done() = 0;
};

// Members of an object, by index.
struct ILanguageExtenderBase {
    virtual ~ILanguageExtenderBase() {}
    virtual bool ADDIN_API RegisterExtensionAs(WCHAR_T** name) = 0;
    virtual long ADDIN_API GetNProps() = 0;
    virtual long ADDIN_API FindProp(const WCHAR_T* name) = 0;
    virtual const WCHAR_T* ADDIN_API GetPropName(long prop, long alias) = 0;
    virtual bool ADDIN_API GetPropVal(long prop, tVariant* value) = 0;
    virtual bool ADDIN_API SetPropVal(long prop, tVariant* value) = 0;
    virtual bool ADDIN_API IsPropReadable(long prop) = 0;
    virtual bool ADDIN_API IsPropWritable(long prop) = 0;
    virtual long ADDIN_API GetNMethods() = 0;
    virtual long ADDIN_API FindMethod(const WCHAR_T* name) = 0;
    virtual const WCHAR_T* ADDIN_API GetMethodName(long method, long alias) = 0;
    virtual long ADDIN_API GetNParams(long method) = 0;
    virtual bool ADDIN_API GetParamDefValue(long method, long param, tVariant* value) = 0;
    virtual bool ADDIN_API HasRetVal(long method) = 0;
    virtual bool ADDIN_API CallAsProc(long method, tVariant* params, long count) = 0;
    virtual bool ADDIN_API CallAsFunc(long method, tVariant* result, tVariant* params,
                                      long count) = 0;
};

// Language of the platform.
struct LocaleBase {
    virtual ~LocaleBase() {}
    virtual void ADDIN_API SetLocale(const WCHAR_T* locale) = 0;
};

// Language of the platform's windows; objects have it from capabilities 3 on.
struct UserLanguageBase {
    virtual ~UserLanguageBase() {}
    virtual void ADDIN_API SetUserInterfaceLanguageCode(const WCHAR_T* language) = 0;
};

// A component object: four virtual tables, in this order.
struct IComponentBase : public IInitDoneBase,
                        public ILanguageExtenderBase,
                        public LocaleBase,
                        public UserLanguageBase {
    virtual ~IComponentBase() {}
};

#endif
