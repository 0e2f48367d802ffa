// Package rootfs says which resolver is in the file system of a container
// image. It judges every executable and every library, not the entrypoint:
// whatever a container starts finds its resolver there.
//
// It reads layers as streams, from the uppermost to the lowest, holds none of
// their files, and knows nothing of registries.
//
//	in the files                                          trait          says
//	ld-musl-*, whatever it is                             musl           musl
//	libgcompat*                                           musl           musl
//	an ELF that asks for the loader ld-musl-*             musl           musl
//	a static ELF that is not Go's, with /etc/resolv.conf
//	and without RES_OPTIONS (static musl; others, too)    musl           musl
//	Net/DNS/Resolver.pm, amphp/dns                        net-dns        beside
//	a static ELF with both names, and without the note
//	of glibc's start code (musl with c-ares, for example) unclear        unknown
//	a static ELF without sections, or packed by UPX       unclear        unknown
//	an ELF with data behind its end (AppImage, installer) unclear        unknown
//	a file system in a file, a program for any system     unclear        unknown
//	an ELF that asks for another loader (uClibc, Android) unclear        unknown
//	a static Go program with cgo, and not glibc's         unclear, cgo   unknown
//	a Go program with cgo                                 cgo            beside
//	a Go program without                                  go             go
//	glibc's loader                                        glibc          glibc
//	any other ELF                                         other          not go
//
// The verdict, the first that applies:
//
//	musl                   musl
//	unclear                unknown
//	glibc                  glibc, with or without go-cgo and net-dns beside
//	go and nothing else    go
//	anything else          unknown
//
// An executable is static if it asks for no loader and needs no library.
// glibc's own static programs have both names and the note.
package rootfs
