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
//	a static ELF that is not Go's, with resolv.conf and
//	without RES_OPTIONS (static musl; others, too)        musl           musl
//	Net/DNS/Resolver.pm, any module of Perl's that is
//	of Net::DNS::Resolver, a script with one packed into
//	it, amphp/dns                                         net-dns        beside
//	a static ELF with both names, and without the note
//	of glibc's start code (musl with c-ares, for example) unclear        unknown
//	a static ELF without sections, or packed by UPX       unclear        unknown
//	an ELF with data behind its end (AppImage, installer) unclear        unknown
//	a file system in a file, a program for any system     unclear        unknown
//	an ELF that asks for another loader (uClibc, Android) unclear        unknown
//	a static Go program with cgo, and not glibc's         unclear, cgo   unknown
//	Go's by its own word, and without Go's runtime        unclear, cgo   unknown
//	a Go program with cgo, or of GCC's Go                 cgo            beside
//	a Go program without                                  go             go
//	glibc's loader                                        glibc          glibc
//	an entry that no runtime unpacks                      unclear        unknown
//	any other ELF                                         other          not go
//
// What has been judged is kept in a cache by digest (internal/images): whoever changes
// this table or the verdict raises the cache's version.
//
// The verdict, the first that applies:
//
//	musl                   musl
//	unclear                unknown
//	glibc                  glibc, with or without go-cgo and net-dns beside
//	go and nothing else    go
//	anything else          unknown
//
// Runtimes differ in what a layer leaves of those below: overlayfs lays folders on each
// other, others write all into one tree, and each follows other symbolic links. A file
// of a lower layer is taken as gone only if all of this is so; else it counts:
//
//   - A layer above takes it away: by a whiteout or anything else at the file's own path;
//     or by a whiteout, an opaque marker or something that is no folder at the path of a
//     folder around it, the root excepted. A layer that says of any path both that it is a
//     folder and that it is something else takes nothing away.
//   - None of its folders is a symbolic link in its own layer, or in a lower one while a
//     layer above names one of these folders. No layer names a link by a path through
//     another.
//   - No hard link in its own layer or above has its base name for a target, unless the
//     layer of the hard link has the target, by that path and through no link.
//
// An executable is static if it asks for no loader and needs no library.
// glibc's own static programs have both names and the note.
package rootfs
