// Package sshrun runs this program on another machine, with nothing but the system's ssh here and its server there. One
// connection does everything: a short script for any POSIX shell makes a private folder there in which programs can be executed, and
// one with room, takes the program from its input, checks its hash, runs it with the same input and output, and removes the folders
// however the program ends.
//
// What is left there when all of that was killed, the next run of the same user removes, once it is certain that nobody is at work in it.
//
// Which key, which port, which jump host, and whether the other machine is the one that it claims to be, is for ssh and its
// configuration to say. Nothing here ever weakens what that says about keys of hosts.
//
//	here                                       there
//	ssh -- host 'exec sh -c …'      →          the login shell, and whatever its start-up files print
//	the script                      →
//	                                ←          MARKER ready: system, machine, what is installed, which folder
//	send, and the program           →
//	                                ←          MARKER start
//	          input and output of the program, until it ends
//
// The marker is drawn for each connection. What comes before it is of those files, and of no interest unless the marker does not come
// at all. Here, nothing is sent that has not been asked for, so that a shell that reads ahead takes nothing away from the program.
//
// [Process] is such an ssh, or another one that speaks with a server for us: package sftp has the same.
package sshrun
