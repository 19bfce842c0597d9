// The keys of xl.cfg: those that are read here, those that are kept, and those that have no meaning here,
// where there is no firmware, no device model and no PCI to pass through. Xen: xl.cfg(5).

const words = (text: string): string[] => text.trim().split(/\s+/);

const READ = `name type builder uuid memory maxmem vcpus maxvcpus kernel ramdisk cmdline root extra disk vif pvcalls p9
  on_poweroff on_reboot on_crash on_watchdog on_soft_reset cpu_weight cap cpus cpus_soft period budget extratime pool driver_domain seclabel
  max_grant_frames max_maptrack_frames max_event_channels rtc_timeoffset localtime confine`;
const KEPT = `channel console init_seclabel bootloader bootloader_args nomigrate
  tsc_mode slice latency vkb vfb nodes vif.default.script vif.default.bridge
  vif.default.gatewaydev vif.default.backend`;

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
  pvshim_cmdline pvshim_extra gic_version tee vuart device_tree`;
const NO_SUCH_BACKEND = 'vtpm vsnd vdispl vif2 nfs_server nfs_root';

const MEANINGLESS = new Set(words([FIRMWARE_AND_DEVICE_MODEL, PASSTHROUGH, HARDWARE, NO_SUCH_BACKEND].join(' ')));

/** Every key that means something to xl. A file may have others; xl takes no notice of them. */
export const XL_KEYS: ReadonlySet<string> = new Set([...words(`${READ} ${KEPT}`), ...MEANINGLESS]);

/** Those that say something of the domain. */
export const READ_KEYS: ReadonlySet<string> = new Set(words(READ));

/** The keys among `present` that change nothing here, sorted. xl accepts them in silence; we say once which. */
export const meaninglessKeys = (present: Iterable<string>): string[] =>
  [...present].filter(key => MEANINGLESS.has(key)).sort();
