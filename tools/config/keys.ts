// Keys of xl.cfg that have no meaning here: there is no firmware, no device model, no PCI to pass through.
// xl accepts them in silence; we say once which ones a file has.

const FIRMWARE_AND_DEVICE_MODEL = `bios bios_path_override firmware firmware_override acpi acpi_s3 acpi_s4
  acpi_laptop_slate acpi_firmware pae nx apic hpet hap viridian nestedhvm altp2m altp2mhvm timer_mode vpt_align
  mmio_hole vga stdvga videoram vnc vncpasswd vnclisten vncdisplay vncunused vncviewer sdl opengl nographic
  spice spicehost spiceport spicetls_port spicedisable_ticketing spicepasswd spiceagent_mouse spicevdagent
  spice_clipboard_sharing spiceusbredirection spice_image_compression spice_streaming_video keymap usb usbversion
  usbdevice usbctrl soundhw serial boot xen_platform_pci vendor_device smbios smbios_firmware ms_vm_genid hdtype
  device_model device_model_version device_model_override device_model_user device_model_args device_model_args_pv
  device_model_args_hvm device_model_stubdomain_override device_model_stubdomain_seclabel dm_restrict
  stubdomain_kernel stubdomain_cmdline stubdomain_ramdisk stubdomain_memory suppress_vmdesc`;
const PASSTHROUGH = `pci pci_msitranslate pci_power_mgmt pci_permissive pci_seize rdm rdm_mem_boundary dtdev
  passthrough gfx_passthru e820_host iomem ioports irqs usbdev`;
const HARDWARE = `cpuid msr_relaxed mca_caps vpmu vmtrace_buf_kb oos shadow_memory vnuma pvshim pvshim_path
  pvshim_cmdline pvshim_extra gic_version tee vuart device_tree sve dt_passthrough_nodes`;
const NO_SUCH_BACKEND = 'vtpm vsnd vdispl vif2 nfs_server nfs_root viommu';

const MEANINGLESS = new Set([FIRMWARE_AND_DEVICE_MODEL, PASSTHROUGH, HARDWARE, NO_SUCH_BACKEND].join(' ').split(/\s+/));

/** The keys among `present` that change nothing here, sorted. */
export const meaninglessKeys = (present: Iterable<string>): string[] =>
  [...present].filter(key => MEANINGLESS.has(key)).sort();
