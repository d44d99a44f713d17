/* The exported dlopen: asks cudashim_pick what the first argument shall be, then jumps to the real dlopen.
 *
 * It must jump, not call: the loader takes the caller's run paths, $ORIGIN and namespace from the return
 * address of dlopen (glibc, dlfcn/dlopen.c and elf/dl-open.c). It is assembly because a C compiler gives a
 * jump only where it pleases (not at -O0). It keeps both arguments of dlopen over the call of cudashim_pick, which
 * gets the return address as a third; cudashim_real is set once cudashim_pick has returned, whatever happened.
 */
#if defined(__x86_64__)

	.text
	.globl	dlopen
	.type	dlopen, @function
	.p2align 4
dlopen:
	.cfi_startproc
	endbr64
	movq	(%rsp), %rdx
	subq	$24, %rsp		/* 8 of the return address + 24: aligned to 16 for the call */
	.cfi_adjust_cfa_offset 24
	movq	%rdi, 8(%rsp)		/* only for debuggers: the name as it was asked for */
	movq	%rsi, (%rsp)
	call	cudashim_pick
	movq	%rax, %rdi
	movq	(%rsp), %rsi
	addq	$24, %rsp
	.cfi_adjust_cfa_offset -24
	jmp	*cudashim_real(%rip)
	.cfi_endproc
	.size	dlopen, .-dlopen

	/* IBT and shadow stacks stay on in a process that has us: 0xc0000002 is GNU_PROPERTY_X86_FEATURE_1_AND. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000002, 4, 3, 0

#elif defined(__aarch64__)

	.text
	.globl	dlopen
	.type	dlopen, %function
	.p2align 4
dlopen:
	.cfi_startproc
	hint	#34			/* bti c */
	stp	x29, x30, [sp, #-32]!
	.cfi_adjust_cfa_offset 32
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	mov	x29, sp
	stp	x0, x1, [sp, #16]
	mov	x2, x30
	bl	cudashim_pick
	ldr	x1, [sp, #24]
	ldp	x29, x30, [sp], #32
	.cfi_adjust_cfa_offset -32
	.cfi_restore x29
	.cfi_restore x30
	adrp	x16, cudashim_real
	ldr	x16, [x16, #:lo12:cudashim_real]
	br	x16			/* through x16: lands on the `bti c` of the real one */
	.cfi_endproc
	.size	dlopen, .-dlopen

	/* 0xc0000000 is GNU_PROPERTY_AARCH64_FEATURE_1_AND; 1 is BTI. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000000, 4, 1, 0

#else
#error "cudashim's preload object knows x86_64 and aarch64 only"
#endif

	.section .note.GNU-stack, "", %progbits
