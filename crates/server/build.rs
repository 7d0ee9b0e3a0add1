//! Gives the Windows program its version resource and its manifest; does nothing for other systems.
//!
//! The manifest has paths of more than 260 characters work where the system allows them, makes UTF-8 the
//! code page of the process, names the versions of Windows that are meant, and asks for no rights of an
//! administrator: only some commands need them, and those say so.

use std::error::Error;

const MANIFEST: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<assembly xmlns="urn:schemas-microsoft-com:asm.v1" manifestVersion="1.0">
  <trustInfo xmlns="urn:schemas-microsoft-com:asm.v3">
    <security><requestedPrivileges><requestedExecutionLevel level="asInvoker" uiAccess="false"/></requestedPrivileges></security>
  </trustInfo>
  <compatibility xmlns="urn:schemas-microsoft-com:compatibility.v1">
    <application><supportedOS Id="{8e0f7a12-bfb3-4fe8-b9a5-48fd50a15a9a}"/></application>
  </compatibility>
  <application xmlns="urn:schemas-microsoft-com:asm.v3">
    <windowsSettings>
      <longPathAware xmlns="http://schemas.microsoft.com/SMI/2016/WindowsSettings">true</longPathAware>
      <activeCodePage xmlns="http://schemas.microsoft.com/SMI/2019/WindowsSettings">UTF-8</activeCodePage>
    </windowsSettings>
  </application>
</assembly>
"#;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_WINDOWS").is_none() {
        return Ok(());
    }
    // Product, version and file name are those of the package.
    let mut resource = winresource::WindowsResource::new();
    resource
        .set("ProductName", "licenceserver")
        .set("FileDescription", "Licence server of 1C:Enterprise configurations")
        .set("CompanyName", "The licenceserver authors")
        .set("InternalName", "licenceserver")
        .set("OriginalFilename", "licenceserver.exe")
        .set("LegalCopyright", "Copyright (c) 2026 The licenceserver authors. MIT OR Apache-2.0")
        .set_manifest(MANIFEST);
    // For the program alone: tests have names and manifests of their own.
    resource.compile_for("licenceserver")?;
    Ok(())
}
